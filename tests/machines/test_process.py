# SPDX-License-Identifier: BSD-2-Clause
"""A child ends when it is stopped, and when its parent is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from router.machines.process import LAST_LINES, MAX_LINE_BYTES, MAX_NEWS, UNLESS_ORPHAN, Child
from tests.support.patience import PATIENCE, alive, wait_until


def test_a_child_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    marker = tmp_path / "ready"
    child = Child(
        "stubborn", ["sh", "-c", f"trap '' TERM; touch {marker}; while :; do sleep 1; done"], tmp_path / "log"
    )
    assert wait_until(marker.exists)
    assert child.ended() is None
    assert child.stop() == -signal.SIGKILL
    assert child.ended() == -signal.SIGKILL


def test_its_last_words_are_kept(tmp_path: Path) -> None:
    child = Child("short", ["sh", "-c", "echo no such device >&2; exit 3"], tmp_path / "log")
    assert wait_until(lambda: child.ended() is not None)
    assert child.ended() == 3
    assert child.errors() == "no such device"
    assert child.stop() == 3


def test_it_does_not_start_when_its_parent_has_ended_already(tmp_path: Path) -> None:
    marker = tmp_path / "started"
    subprocess.run(["sh", "-c", UNLESS_ORPHAN, "1", "touch", str(marker)], check=False)  # our parent is not that one
    assert not marker.exists()
    subprocess.run(["sh", "-c", UNLESS_ORPHAN, str(os.getpid()), "touch", str(marker)], check=True)
    assert marker.exists()


def test_it_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from router.machines.process import UNLESS_ORPHAN, Child\n"
        "child = Child('c', ['sleep', '600'], Path(sys.argv[1])); print(child.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait(PATIENCE)
    assert wait_until(lambda: not alive(pid))


def test_what_it_prints_is_kept_within_limits_and_private(tmp_path: Path) -> None:
    script = "printf 'x%.0s' $(seq 5000); echo; for n in $(seq 100); do echo line $n; done"
    child = Child("talker", ["sh", "-c", script], tmp_path / "log")
    assert wait_until(lambda: child.ended() is not None)
    assert child.errors().splitlines()[-1] == "line 100"
    assert len(child.errors().splitlines()) == LAST_LINES
    news = child.news()
    assert len(news) == MAX_NEWS and max(map(len, news)) <= MAX_LINE_BYTES
    assert child.news() == []
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
