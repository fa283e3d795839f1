# SPDX-License-Identifier: BSD-2-Clause
"""What `router bench latency` makes of its samples."""

from __future__ import annotations

import threading

import pytest

from bench.latency import Answers, Latencies, percentile, rows
from router.errors import MachineError


def test_the_99th_percentile_is_the_nearest_rank() -> None:
    assert percentile(range(1, 101), 99) == 99
    assert percentile(range(1, 301), 99) == 297
    assert percentile([5.0], 99) == 5.0
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0


@pytest.mark.parametrize(("busy", "met"), [(20.0, True), (20.5, False)])
def test_the_goal_is_twice_the_idle_time_and_holds_for_split_runs(busy: float, met: bool) -> None:
    found = Latencies((10.0,) * 100, (busy,) * 100, 5.0)
    assert [row.met for row in rows("split run", found, goal=True) if row.goal] == [met]
    assert all(row.met is None for row in rows("seL4", found, goal=False))


def test_an_answer_counts_however_the_console_cuts_it_and_a_lost_one_is_an_error() -> None:
    answers = Answers()

    def speak() -> None:
        for piece in (b"x<ke", b"y 1", b"2>\r\n"):
            answers.heard(piece)

    thread = threading.Thread(target=speak)
    thread.start()
    answers.wait(12)
    thread.join()
    with pytest.raises(MachineError, match="key 1 did not arrive"):
        answers.wait(1, 0.01)
