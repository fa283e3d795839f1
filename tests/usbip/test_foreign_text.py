# SPDX-License-Identifier: BSD-2-Clause
"""Text of devices, servers and peers is shown as text, in bounded amounts."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from router.errors import HostError, MachineError
from router.usbip.client import exchange
from router.usbip.commands.list import local_lines, remote_lines
from router.usbip.protocol import handshake
from router.usbip.protocol.device import Device
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.log import MAX_BURST, budget, log, milestone
from router.usbip.runtime.text import printable
from router.usbip.server.control import ask, describe, status_text
from router.usbip.virtual.serial import Serial
from tests.support.patience import PATIENCE
from tests.usbip.world import World

# Text from outside


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2028line\x9b31m\x7f\udcff\n$ "


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Größe 12 µs ✓ 日本", "Größe 12 µs ✓ 日本"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\rc\td", "a\\x0ab\\x0dc\\x09d"),
        ("\x7f\x80\x9b", "\\x7f\\x80\\x9b"),
        ("\u202e\u2066\u200f\u2028", "\\u202e\\u2066\\u200f\\u2028"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("a\\b", "a\\b"),
    ],
)
def test_text_from_outside_is_shown_in_one_line_that_no_terminal_obeys(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode("utf-8")


def test_no_list_shows_foreign_text_as_it_came() -> None:
    device = Device("1-1", 3, 1, 2, 0xFFF0, 1, manufacturer=HOSTILE, product=HOSTILE, path=HOSTILE, serial=HOSTILE)
    for line in (*local_lines([device], False), *remote_lines("10.0.0.1", [device])):
        assert line.isprintable()
        line.encode("utf-8")


def test_the_status_shows_no_foreign_text_as_it_came(loop: Loop) -> None:
    serial = Serial()
    serial.strings = ["", HOSTILE, HOSTILE, HOSTILE]
    world = World(loop, serial)
    text = status_text(describe(world.server))
    assert all(line.isprintable() for line in text.splitlines())
    assert "\\x1b]0;owned" in text and len(text.splitlines()) == 3
    world.close()


def test_the_log_shows_no_foreign_text_as_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    log(HOSTILE)
    milestone(HOSTILE)
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert text.count("\n") == 1 and text[:-1].isprintable()


def test_a_flood_of_log_lines_is_cut_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1000):
        log(f"line {number}")
    lines = capsys.readouterr().err.splitlines()
    assert MAX_BURST <= len(lines) < MAX_BURST + 50
    budget.lines = 1
    log("after it")
    (last,) = capsys.readouterr().err.splitlines()
    assert last == f"router-usbip: after it ({1000 - len(lines)} lines before this one are left out)"


def test_a_server_that_answers_byte_by_byte_does_not_hold_a_command_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "WHOLE_ANSWER_TIMEOUT_S", 0.3)
    mine, theirs = socket.socketpair()
    stop = threading.Event()

    def dribble() -> None:
        while not stop.wait(0.02):
            theirs.send(handshake.pack_common(handshake.OP_DEVLIST)[:1])

    thread = threading.Thread(target=dribble)
    thread.start()
    with mine, theirs:
        mine.settimeout(PATIENCE)
        steps = exchange.watch_steps(lambda grants: None)
        with pytest.raises(MachineError):
            exchange.run_steps(mine, b"", forever(steps))
        stop.set()
        thread.join()


def forever(steps: Generator[int, bytes, None]) -> Generator[int, bytes, None]:
    """An answer of which every part is right, and which has no end."""
    next(steps)
    while True:
        yield 1 << 20


def test_a_control_socket_that_falls_silent_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(HostError, match="the server does not answer"):
            ask(["status"], path, timeout=0.1)
