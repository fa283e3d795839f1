# SPDX-License-Identifier: BSD-2-Clause
"""What `router bench streams` makes of what guests have lost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from bench.devices.rig import Rig
from bench.streams import losses


class FakeRig:
    """Guests whose /proc/stat counts on: the server is idle a quarter of the time, the client always."""

    def __init__(self) -> None:
        self._runs = 0

    def run(self, guest: str, command: str) -> str:
        self._runs += 1
        assert command == "head -n 1 /proc/stat"
        used, idle = (300, 100) if guest == "server" else (0, 400)
        return f"cpu  {self._runs * used} 0 0 {self._runs * idle} 0 0 0 0 0 0\n"

    def note(self, text: str) -> None:
        """A line for whoever watches."""


@pytest.mark.parametrize(("missing", "met"), [((0.0, 0.5, 0.0), True), ((0.0, 0.5, 0.5), False)])
def test_the_median_of_what_is_missing_is_judged_and_each_guests_load_is_said(
    missing: tuple[float, ...], met: bool
) -> None:
    values: Iterator[float] = iter(missing)
    rig = cast(Rig, FakeRig())
    found, server, client = losses(rig, "camera", "seL4", 3, lambda: next(values), ("0", 0.0))
    assert (found.name, found.of, found.samples, found.met) == ("camera: missing", "seL4", missing, met)
    assert (server.name, round(server.value)) == ("camera: server busy", 75)
    assert (client.name, client.value) == ("camera: client busy", 0)


def test_what_has_no_goal_misses_none() -> None:
    assert next(losses(cast(Rig, FakeRig()), "microphone", "seL4", 1, lambda: 80.0, None)).met is None
