# SPDX-License-Identifier: BSD-2-Clause
"""A guest that floods the host in any way takes a bounded part of its memory and disk.

ROUTER_FLOOD_SECONDS (60) is how long each flood lasts; `pytest -s` shows the figures, as `router bench floods` does.
"""

from __future__ import annotations

import os

import pytest

from bench import floods
from bench.report import render

SECONDS = float(os.environ.get("ROUTER_FLOOD_SECONDS", "60"))


@pytest.mark.long
@pytest.mark.timeout(len(floods.FLOODS) * (SECONDS + 60) + 900)
def test_no_flood_takes_more_of_the_host_than_its_limit() -> None:
    rows = tuple(floods.measure(SECONDS, print))
    print(f"\n{render(rows)}")
    assert [row.text for row in rows if row.met is False] == []
    assert sum(row.met is True for row in rows) == 3 * len(floods.FLOODS)
    (taken,) = (row for row in rows if row.name == "frames: taken by the switch")
    assert taken.value > 1
    assert all(row.value > 0.01 for row in rows if row.name.endswith(": output"))
