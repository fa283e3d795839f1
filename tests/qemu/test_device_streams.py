# SPDX-License-Identifier: BSD-2-Clause
"""`router bench devices` for devices whose data do not wait: they are lost when the guests are too slow."""

from __future__ import annotations

import pytest

from bench.devices.catalogue import MADE, STREAMS
from bench.devices.models import ENGINES
from tests.qemu.trials import LONG, work


@pytest.mark.timeout(900)
def test_a_stream_arrives_over_the_route_with_both_engines() -> None:
    names = [name for name in STREAMS if name not in LONG]
    trials, _ = work(names)
    assert names and len(trials) == len(ENGINES) * len(names)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_made_devices_work_many_times_over_in_one_boot() -> None:
    trials, _ = work([device.name for device in MADE], times=5)
    assert len(trials) == 5 * len(ENGINES) * len(MADE)
