# SPDX-License-Identifier: BSD-2-Clause
"""The consoles on one serial line are taken apart again, however the bytes arrive."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import PATIENCE

from router.console.multiplexer import PIECE, Demultiplexer, select_port, typed
from router.console.serial_line import SerialLine

PORTS = ("server", "server.control", "client", "client.control")


def apart(pieces: list[bytes], demultiplexer: Demultiplexer | None = None) -> dict[str | None, bytes]:
    """What each port said in all."""
    demultiplexer = demultiplexer or Demultiplexer(PORTS)
    found: dict[str | None, bytes] = {}
    for part in [each for piece in pieces for each in demultiplexer.feed(piece)] + demultiplexer.settle():
        found[part[0]] = found.get(part[0], b"") + part[1]
    return found


def test_each_line_goes_to_the_port_that_it_names() -> None:
    line = b"client| one\r\nserver.control| 1 x 0\r\nserver| two\r\nclient| \r\n"
    assert apart([line]) == {"client": b"one\n\n", "server.control": b"1 x 0\n", "server": b"two\n"}


def test_lines_of_no_port_are_the_systems() -> None:
    line = b"LDR|INFO: loader\r\nserver| up\r\nMON|ERROR: fault\r\nservers| x\r\nserver > y\r\n"
    found = apart([line])
    assert found[None] == b"LDR|INFO: loader\r\nMON|ERROR: fault\r\nservers| x\r\nserver > y\r\n"
    assert found["server"] == b"up\n"


def test_a_long_line_is_whole_again() -> None:
    text = bytes(random.Random(1).choices(range(0x21, 0x7F), k=3 * PIECE + 11))
    line = b"client.control| " + text[:PIECE]
    for start in range(PIECE, len(text), PIECE):
        line += b"\r\nclient| between\r\nclient.control+ " + text[start : start + PIECE]
    found = apart([line, b"\r\nclient.control| next\r\n"])
    assert found["client.control"] == text + b"\nnext\n"
    assert found["client"] == b"between\n" * 3


def test_a_line_of_just_the_cut_length_ends_where_it_ends() -> None:
    text = b"x" * PIECE
    found = apart([b"client| " + text + b"\r\nclient+ \r\nclient| next\r\n"])
    assert found["client"] == text + b"\nnext\n"


def test_an_unfinished_line_that_is_shown_again_is_there_once() -> None:
    line = b"server| login: \r\nclient| hello\r\nserver| login: root\r\nserver| done\r\n"
    assert apart([line])["server"] == b"login: root\ndone\n"


def test_a_line_that_only_begins_like_the_one_before_is_another() -> None:
    line = b"server| ab\r\nclient| hello\r\nserver| axe\r\nclient| hello\r\nserver| axe two\r\n"
    assert apart([line])["server"] == b"ab\naxe two\n"


def test_equal_lines_without_another_between_stay_two() -> None:
    assert apart([b"server| again\r\nserver| again\r\n"])["server"] == b"again\nagain\n"


def test_an_unfinished_line_goes_on_when_the_keyboard_was_taken_away() -> None:
    demultiplexer = Demultiplexer(PORTS)
    first = demultiplexer.feed(b"server| [ 0.1] Linux ver")
    demultiplexer.focus = "server.control"
    rest = apart([b"\r\nclient| hello\r\nserver+ sion 6.1\r\n"], demultiplexer)
    assert first == [("server", b"[ 0.1] Linux ver")]
    assert rest["server"] == b"sion 6.1\n"


def test_every_cut_of_the_bytes_gives_the_same() -> None:
    line = (
        b"LDR|INFO: it\r\nserver| [ 0.0] one\r\nserver| [ 0.1\r\nclient| [ 0.0] one\r\nserver| [ 0.1] two\r\n"
        b"client.control| " + b"y" * PIECE + b"\r\nserver| $ \r\nclient.control+ z\r\nserver| $ ls\r\n"
    )
    whole = apart([line])
    assert whole["server"] == b"[ 0.0] one\n[ 0.1] two\n$ ls\n"
    for size in range(1, 40):
        assert apart([line[at : at + size] for at in range(0, len(line), size)]) == whole


def test_prompts_are_shown_before_their_line_ends() -> None:
    demultiplexer = Demultiplexer(PORTS)
    assert demultiplexer.feed(b"server| $ ") == [("server", b"$ ")]
    assert demultiplexer.feed(b"ls\r\n") == [("server", b"ls")]
    assert demultiplexer.owes
    assert demultiplexer.settle() == [("server", b"\n")]
    assert not demultiplexer.owes


def test_carriage_returns_within_a_line_stay() -> None:
    line = b"server| $ ls\r$ id\r\r\nclient| 50 %\r100 %\r\nserver| $ a\r$ \r\nclient| \r\nserver| $ a\r$ b\r\n"
    whole = apart([line])
    assert whole == {"server": b"$ ls\r$ id\n$ a\r$ b\n", "client": b"50 %\r100 %\n\n"}
    for size in range(1, 30):
        assert apart([line[at : at + size] for at in range(0, len(line), size)]) == whole


def test_a_line_that_is_cut_at_a_carriage_return_goes_on() -> None:
    line = b"client| " + b"x" * (PIECE - 1) + b"\r\r\nserver| hi\r\nclient+ yz\r\n"
    assert apart([line])["client"] == b"x" * (PIECE - 1) + b"yz\n"


def test_keys_name_ports_and_the_escape_key_itself_can_be_typed() -> None:
    assert [select_port(index) for index in (0, 9, 10, 36, 61)] == [b"\x1c0", b"\x1c9", b"\x1ca", b"\x1cA", b"\x1cZ"]
    assert typed(b"a\x1cb") == b"a\x1c\x1cb"


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[SerialLine, socket.socket]]:
    """A line whose other end is the test's."""
    near, far = socket.socketpair()
    carried = SerialLine(near, PORTS, "server.control", tmp_path / "serial.log")
    carried.start()
    far.settimeout(PATIENCE)
    for name in (*PORTS, None):
        carried.port(name).settimeout(PATIENCE)
    yield carried, far
    carried.close()
    near.close()
    far.close()


def read(stream: socket.socket, size: int) -> bytes:
    """Exactly that many bytes."""
    data = b""
    while len(data) < size and (more := stream.recv(size - len(data))):
        data += more
    return data


def test_the_keyboard_goes_to_the_quiet_port_once_somebody_speaks(line: tuple[SerialLine, socket.socket]) -> None:
    _, far = line
    far.sendall(b"server| Booting\r\n")
    assert read(far, 2) == b"\x1c1"


def test_what_is_written_to_a_port_is_typed_there(line: tuple[SerialLine, socket.socket], tmp_path: Path) -> None:
    carried, far = line
    carried.port("client.control").sendall(b"early\n")
    far.sendall(b"MON|INFO: up\r\nclient| up\r\n")
    assert read(far, 12) == b"\x1c1\x1c3early\n\x1c1"
    carried.port("client").sendall(b"^\x1c")
    assert read(far, 7) == b"\x1c2^\x1c\x1c\x1c1"
    assert read(carried.port("client"), 3) == b"up\n"
    assert read(carried.port(None), 14) == b"MON|INFO: up\r\n"
    assert (tmp_path / "serial.log").read_bytes() == b"MON|INFO: up\r\nclient| up\r\n"


def test_a_person_who_types_has_the_keyboard_back_after_a_program(line: tuple[SerialLine, socket.socket]) -> None:
    carried, far = line
    far.sendall(b"server| up\r\n")
    assert read(far, 2) == b"\x1c1"
    carried.give_keyboard("client")
    assert read(far, 2) == b"\x1c2"
    carried.port("server.control").sendall(b"7 bHM=\n")
    assert read(far, 11) == b"\x1c17 bHM=\n\x1c2"


def test_a_port_that_nobody_reads_holds_no_other_up(line: tuple[SerialLine, socket.socket]) -> None:
    carried, far = line
    far.sendall(b"".join(b"client.control| " + b"z" * 200 + b"\r\n" for _ in range(8000)) + b"server| alive\r\n")
    assert read(carried.port("server"), 6) == b"alive\n"


def test_the_ports_end_when_the_line_does(line: tuple[SerialLine, socket.socket]) -> None:
    carried, far = line
    far.sendall(b"client| half")
    far.shutdown(socket.SHUT_RDWR)
    assert read(carried.port("client"), 100) == b"half"
    assert carried.port("server").recv(10) == b""


def test_what_a_machine_said_before_it_ended_is_read_though_it_takes_nothing_any_more(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    carried = SerialLine(near, PORTS, "server.control", tmp_path / "serial.log")
    with near, carried.port("server") as console:
        console.settimeout(PATIENCE)
        carried.port("client.control").sendall(b"anybody there?\n")
        far.sendall(b"client| Booting\r\n" + b"server| last words\r\n" * 500)
        far.close()
        carried.start()
        assert read(console, 500 * 11) == b"last words\n" * 500
        carried.close()
