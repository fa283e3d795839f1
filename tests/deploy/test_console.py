"""Consoles of a running board: the shared line, one guest out of it, and the terminal afterwards."""

from __future__ import annotations

import itertools
import os
import pty
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest
from deploy_lab import MakeLab, write_build
from fakeboard import FakeBoard, Faults
from hypothesis import given
from hypothesis import strategies as st

from router.errors import DescriptionError
from router.machines.board.attach import Demultiplexer, index_of
from router.machines.board.lock import BoardLock, holder_of
from router.machines.board.plan import Consoles

GUESTS = Consoles(names=("server", "client"))
TEXT = b"server| up\r\nLDR|INFO: x\r\nclient| login: \nser\nserver| a| b\nclientele\nclient| "


def pieces_of(data: list[bytes]) -> dict[str | None, bytes]:
    splitter, out = Demultiplexer(GUESTS), dict[str | None, bytes]()
    for piece in data:
        for owner, text in splitter.feed(piece):
            out[owner] = out.get(owner, b"") + text
    return out


EXPECTED = {"server": b"up\r\na| b\n", None: b"LDR|INFO: x\r\nser\nclientele\n", "client": b"login: \n"}


def test_each_line_goes_to_its_guest() -> None:
    assert pieces_of([TEXT]) == EXPECTED


@given(st.lists(st.integers(0, len(TEXT)), max_size=20))
def test_how_the_line_is_cut_into_pieces_does_not_matter(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TEXT)]
    assert pieces_of([TEXT[a:b] for a, b in itertools.pairwise(edges)]) == EXPECTED


def test_the_pieces_of_a_long_line_are_put_together() -> None:
    assert pieces_of([b"client| aaa\r\nclient+ bbb\r\nserver+ c\r\n"]) == {"client": b"aaabbb\r\n", "server": b"c\r\n"}


def test_text_reaches_its_guest_before_the_line_ends() -> None:
    splitter = Demultiplexer(GUESTS)
    assert splitter.feed(b"client| logi") == [("client", b"logi")]
    assert splitter.feed(b"n: ") == [("client", b"n: ")]


def test_an_unknown_guest_is_said() -> None:
    with pytest.raises(DescriptionError, match=r"no console 'clint'\n  consoles of this system: server, client"):
        index_of(GUESTS, "clint")
    with pytest.raises(DescriptionError, match="its line is not shared"):
        index_of(Consoles(), "client")


def test_one_guests_console_is_selected_and_shown_alone(build: Path, lab: MakeLab) -> None:
    write_build(build, consoles=GUESTS)
    with FakeBoard(Faults(silent=True)) as board:
        one = lab(board)
        with subprocess.Popen(
            one.command("console", str(build), "--guest", "client"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=one.environment(),
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            assert board.heard(b"\x1c1")
            board.speak(b"server| secret\r\nclient| hello\r\n")
            assert process.stdout.readline() == b"hello\r\n"
            process.stdin.write(b"ls\r\x1dnot this")
            process.stdin.flush()
            assert process.wait(5) == 0
            assert board.heard(b"\x1c1ls\r")
            assert b"secret" not in process.stdout.read()


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
