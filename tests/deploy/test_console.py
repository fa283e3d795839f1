# SPDX-License-Identifier: BSD-2-Clause
"""The whole line of a board as a console, the terminal afterwards, and who may use a board."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest

from router.console import attach
from router.lab.lock import BoardLock, holder_of
from tests.deploy.fakeboard import FakeBoard
from tests.deploy.lab import MakeLab
from tests.support.patience import PATIENCE, processor_seconds, wait_until


def test_the_users_terminal_is_raw_meanwhile_and_restored_afterwards(build: Path, lab: MakeLab) -> None:
    with FakeBoard() as board:
        one = lab(board)
        master, slave = pty.openpty()
        before = termios.tcgetattr(slave)
        try:
            with subprocess.Popen(
                one.command("console"), stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=one.environment()
            ) as process:
                assert wait_until(lambda: not termios.tcgetattr(slave)[3] & termios.ICANON)
                assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO)
                os.write(master, b"\x1d")
                assert process.wait(PATIENCE) == 0
            assert termios.tcgetattr(slave) == before
        finally:
            os.close(master)
            os.close(slave)


class LateLine:
    """The line of a lab host that takes its time to start what serves it."""

    def __init__(self) -> None:
        self.opened = False
        self._reads = 0

    def read(self, _: float) -> bytes:
        self._reads += 1
        self.opened = self._reads > 50
        return b"the answer" if self._reads == 55 else b""

    def write(self, data: bytes) -> None:
        raise AssertionError(f"nothing is typed: {data!r}")


def test_a_line_that_opens_late_is_not_a_silent_one(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(attach, "SILENCE_TIMEOUT_S", 1.0)
    attach.attach(LateLine())
    assert capfdbinary.readouterr().out == b"the answer"


def test_a_board_that_is_in_use_can_be_waited_for(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeBoard() as board:
        one = lab(board, power={"cycle": "true"})
        monkeypatch.setenv("ROUTER_LOCK_DIR", str(one.locks))
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with BoardLock("desk", "a test"):
                entered.set()
                leave.wait(10 * PATIENCE)

        thread = threading.Thread(target=hold)
        thread.start()
        assert entered.wait(PATIENCE)
        holder = holder_of("desk")
        assert holder is not None and (holder.pid, holder.doing) == (os.getpid(), "a test")
        assert one.run("power", "cycle", "--on", "desk").returncode == 4
        threading.Timer(1.0, leave.set).start()
        assert one.run("power", "cycle", "--on", "desk", "--wait", f"{PATIENCE:g}").returncode == 0
        thread.join()
        assert holder_of("desk") is None


def test_a_board_that_is_just_being_released_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the end of a holder's use and that of its lock, the lock names nobody."""
    monkeypatch.setenv("ROUTER_LOCK_DIR", str(tmp_path))
    with (tmp_path / "desk.lock").open("w") as leaving:
        fcntl.flock(leaving, fcntl.LOCK_EX)
        timer = threading.Timer(0.5, fcntl.flock, (leaving, fcntl.LOCK_UN))
        timer.start()
        with BoardLock("desk", "a test"):
            assert holder_of("desk") is not None
        timer.join()


def test_boards_lists_what_is_ready_and_what_stands_in_the_way(lab: MakeLab) -> None:
    with FakeBoard() as board:
        one = lab(board)
        done = one.run("boards")
        assert done.returncode == 0 and f"desk             fake         {board.device}  ready" in done.stdout
        one.write(
            {
                "far": {
                    "board": "fake",
                    "serial": "/dev/ttyNONE",
                    "network": {"board": "203.0.113.2/24", "server": "203.0.113.1"},
                }
            }
        )
        done = one.run("boards")
        assert done.returncode == 4
        assert "no /dev/ttyNONE" in done.stdout and "no interface has the address 203.0.113.1" in done.stdout


def test_help_comes_at_once_and_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from router.cli import build_parser; build_parser();"
        "print([m for m in ('fabric', 'paramiko', 'serial', 'pydantic', 'yaml') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert processor_seconds(*command, PYTHONPYCACHEPREFIX=str(tmp_path)) < 0.3
