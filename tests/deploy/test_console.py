"""The whole line of a board as a console, the terminal afterwards, and who may use a board."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from deploy_lab import MakeLab
from fakeboard import FakeBoard

from router.machines.board.lock import BoardLock, holder_of


def test_the_users_terminal_is_raw_meanwhile_and_restored_afterwards(build: Path, lab: MakeLab) -> None:
    with FakeBoard() as board:
        one = lab(board)
        master, slave = pty.openpty()
        before = termios.tcgetattr(slave)
        try:
            with subprocess.Popen(
                one.command("console"), stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=one.environment()
            ) as process:
                for _ in range(100):
                    if not termios.tcgetattr(slave)[3] & termios.ICANON:
                        break
                    time.sleep(0.05)
                assert not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO)
                os.write(master, b"\x1d")
                assert process.wait(5) == 0
            assert termios.tcgetattr(slave) == before
        finally:
            os.close(master)
            os.close(slave)


def test_a_board_that_is_in_use_can_be_waited_for(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeBoard() as board:
        one = lab(board, power={"cycle": "true"})
        monkeypatch.setenv("ROUTER_LOCK_DIR", str(one.locks))
        entered, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with BoardLock("desk", "a test"):
                entered.set()
                leave.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        entered.wait(5)
        holder = holder_of("desk")
        assert holder is not None and (holder.pid, holder.doing) == (os.getpid(), "a test")
        assert one.run("power", "cycle", "--on", "desk").returncode == 4
        threading.Timer(1.0, leave.set).start()
        assert one.run("power", "cycle", "--on", "desk", "--wait", "20").returncode == 0
        thread.join()
        assert holder_of("desk") is None


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


def test_help_comes_at_once_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from router.cli import build_parser; build_parser();"
        "print([m for m in ('fabric', 'paramiko', 'serial', 'pydantic', 'yaml') if m in sys.modules])"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.monotonic() - started < 1.0  # 0.06 s on an idle machine; the wanted 0.3 s would fail on a busy one
