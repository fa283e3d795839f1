# SPDX-License-Identifier: BSD-2-Clause
"""The consoles on one serial line are taken apart again, however the bytes arrive and whatever guests print."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.console.frames import MAX_BODY, escape, seal, to_port, unescape, unseal
from router.console.line_input import REFUSED_TIMEOUT_S, PortInput
from router.console.multiplexer import MAX_SYSTEM_LINE, MAX_WHOLE_LINE, Demultiplexer
from router.console.serial_line import MAX_UNREAD, READ, SerialLine
from tests.support.fake_mux import FakeMux
from tests.support.patience import PATIENCE

PORTS = ("server", "server.control", "client", "client.control")
CONTROL = ("server.control", "client.control")


@pytest.fixture
def mux() -> FakeMux:
    """Makes frames."""
    return FakeMux(PORTS, lambda _: None)


def apart(pieces: list[bytes], demultiplexer: Demultiplexer | None = None) -> dict[str | None, bytes]:
    """What each port said in all."""
    demultiplexer = demultiplexer or Demultiplexer(PORTS, CONTROL)
    found: dict[str | None, bytes] = {}
    for part in [each for piece in pieces for each in demultiplexer.feed(piece)] + demultiplexer.end():
        found[part[0]] = found.get(part[0], b"") + part[1]
    return found


def test_each_line_goes_to_the_port_that_it_names(mux: FakeMux) -> None:
    said = (("client", b"one"), ("server.control", b"1 x 0"), ("server", b"two"), ("client", b""))
    line = b"".join(mux.frame(port, text) for port, text in said)
    assert apart([line]) == {"client": b"one\n\n", "server.control": b"1 x 0\n", "server": b"two\n"}


def test_lines_of_no_port_are_the_systems(mux: FakeMux) -> None:
    system = b"LDR|INFO: loader\r\nMON|ERROR: `fault`\r\nservers| x\r\nserver > y\r\nseL4\a\r\n"
    found = apart([system, mux.frame("server", b"up"), b"halt"])
    assert found == {None: system + b"halt", "server": b"up\n"}


def test_a_line_with_a_ports_name_and_no_tail_is_nobodys(mux: FakeMux) -> None:
    demultiplexer = Demultiplexer(PORTS)
    line = b"server| halting...\r\nserver| x `000000000000\r\nserver+ y\r\nserver| " + b"z" * 9000
    assert apart([line], demultiplexer) == {}
    assert apart([b"\r\n", mux.frame("server", b"up")], demultiplexer) == {"server": b"up\n"}


def test_a_long_line_is_whole_again(mux: FakeMux) -> None:
    text = bytes(random.Random(1).choices(range(0x21, 0x5C), k=3 * MAX_BODY + 11))
    line = mux.frame("client.control", text[:MAX_BODY], ended=False)
    for start in range(MAX_BODY, len(text), MAX_BODY):
        line += mux.frame("client", b"between")
        line += mux.frame("client.control", text[start : start + MAX_BODY], b"+", ended=start + MAX_BODY > len(text))
    found = apart([line, mux.frame("client.control", b"next")])
    assert found["client.control"] == text + b"\nnext\n"
    assert found["client"] == b"between\n" * 3


def test_equal_lines_are_as_many_as_were_said(mux: FakeMux) -> None:
    frames = [
        mux.frame("server.control", b"7 o YQ=="),
        mux.frame("client", b"x"),
        mux.frame("server.control", b"7 o YQ=="),
    ]
    assert apart(frames)["server.control"] == b"7 o YQ==\n" * 2


def test_prompts_are_given_before_their_line_ends_and_once_though_shown_again(mux: FakeMux) -> None:
    demultiplexer = Demultiplexer(PORTS)
    assert demultiplexer.feed(mux.frame("server", b"$ ", hidden=True)) == [("server", b"$ ")]
    other = b"\r\n" + mux.frame("client", b"hello") + mux.again("server", b"$ ")
    assert demultiplexer.feed(other) == [("client", b"hello\n")]
    assert demultiplexer.feed(mux.frame("server", b"ls", b"")) == [("server", b"ls\n")]
    assert demultiplexer.damaged == 0


def test_every_cut_of_the_bytes_gives_the_same(mux: FakeMux) -> None:
    line = b"LDR|INFO: it\r\n" + mux.frame("server", b"[ 0.1", hidden=True) + b"\r\n" + mux.frame("client", b"x\a`\\\r")
    line += (
        mux.again("server", b"[ 0.1") + mux.frame("server", b"] two\x1b[0m", b"") + mux.frame("client.control", b"z")
    )
    whole = apart([line])
    assert whole == {
        None: b"LDR|INFO: it\r\n",
        "server": b"[ 0.1] two\x1b[0m\n",
        "client": b"x\a`\\\r\n",
        "client.control": b"z\n",
    }
    for size in range(1, 40):
        assert apart([line[at : at + size] for at in range(0, len(line), size)]) == whole


def test_a_frame_with_a_missing_or_altered_byte_is_dropped_and_the_next_is_not(mux: FakeMux) -> None:
    bad, good = mux.frame("client", b"some text \\ and `more`"), mux.frame("client", b"good")
    ends = bad.index(b"\r\n")
    for at in range(ends):
        for left in (bad[:at] + bad[at + 1 :], bad[:at] + bytes((bad[at] ^ 4,)) + bad[at + 1 :]):
            demultiplexer = Demultiplexer(PORTS)
            found = apart([left, good], demultiplexer)
            assert found.pop(None, b"") in (b"", left.removesuffix(b"\n") + b"\n")
            assert found == {"client": b"good\n"}


@pytest.mark.parametrize(
    ("frame", "port", "length"),
    [
        (b"client| hello ", 2, 4),
        (b"client| hello ", 2, 6),
        (b"client| hello ", 0, 5),
        (b"server| hello ", 2, 5),
        (b"client.control| hello ", 2, 5),
        (b"hello ", 2, 5),
        (b"client| he`lo ", 2, 5),
        (b"client| he\\lo ", 2, 5),
        (b"client| hello ", 4, 5),
    ],
)
def test_a_frame_that_contradicts_itself_is_dropped_though_its_checksum_is_right(
    frame: bytes, port: int, length: int
) -> None:
    """Whoever knows what the line will lose can make the checksum fit; the rest of a tail no guest can write."""
    demultiplexer = Demultiplexer(PORTS)
    assert apart([seal(frame, port, length, 0, True) + b"\r\n"], demultiplexer) == {}
    assert demultiplexer.damaged == 1


def test_a_lost_frame_is_counted_and_takes_its_whole_control_line_with_it(mux: FakeMux) -> None:
    demultiplexer = Demultiplexer(PORTS, CONTROL)
    first = mux.frame("client.control", b"1 x 0")
    begin, middle = (
        mux.frame("client.control", b"2 o abcd", ended=False),
        mux.frame("client.control", b"ef", b"+", ended=False),
    )
    end, last = mux.frame("client.control", b"gh", b"+"), mux.frame("client.control", b"2 x 0")
    assert apart([first, begin, end, last], demultiplexer) == {"client.control": b"1 x 0\n2 x 0\n"}
    assert demultiplexer.lost("client.control") == 1
    assert middle


def test_what_the_multiplexer_says_itself_is_no_guests_text(mux: FakeMux) -> None:
    note = seal(b"client< nobody reads ", 2, 12, 0, False) + b"\r\n"
    demultiplexer = Demultiplexer(PORTS)
    assert apart([note], demultiplexer) == {None: b"client: nobody reads\n"}
    assert demultiplexer.answers == []


def test_a_line_without_an_end_takes_little_memory_and_time(mux: FakeMux) -> None:
    demultiplexer = Demultiplexer(PORTS, CONTROL)
    start = time.process_time()
    for _ in range(64):
        demultiplexer.feed(b"\a" * (1 << 14))
    assert len(demultiplexer._text) <= MAX_SYSTEM_LINE + (1 << 14)
    demultiplexer.feed(b"\n")
    endless = [mux.frame("client.control", b"x" * 200, b"+" if n else b"|", ended=False) for n in range(2000)]
    assert apart(endless, demultiplexer) == {}
    assert max(len(port.line) for port in demultiplexer._ports) <= MAX_WHOLE_LINE
    assert apart([mux.frame("client.control", b"y", b"+"), mux.frame("client.control", b"ok")], demultiplexer) == {
        "client.control": b"ok\n"
    }
    assert time.process_time() - start < PATIENCE


def test_any_bytes_survive_a_body() -> None:
    every = bytes(range(256))
    assert unescape(escape(every)) == every
    assert all(byte == 9 or 0x20 <= byte < 0x7F for byte in escape(every))
    assert unescape(b"\\") is None and unescape(b"\\y") is None and unescape(b"a\\x4") is None
    frame, rest = to_port(3, 9, every)
    assert len(frame) <= 2 + MAX_BODY + 12 and every.endswith(rest) and rest
    assert unseal(frame[1:-1], 0, len(frame) - 14).body + rest == every  # type: ignore[union-attr]


class FarEnd:
    """The board's end of a line, with a multiplexer whose guests take what they are sent."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.mux = FakeMux(PORTS, stream.sendall)
        self.came: dict[str, bytes] = dict.fromkeys(PORTS, b"")
        self.deaf: set[int] = set()

    def serve(self, until: float = 0.3) -> None:
        """Read until it is silent for that long."""
        self.stream.settimeout(until)
        try:
            while data := self.stream.recv(4096):
                for port, part in self.mux.take(data):
                    self.came[port] += part
        except TimeoutError:
            return
        finally:
            self.stream.settimeout(PATIENCE)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[tuple[SerialLine, FarEnd]]:
    """A line whose other end is the test's."""
    near, far = socket.socketpair()
    carried = SerialLine(near, PORTS, "server.control", tmp_path / "serial.log")
    carried.start()
    for name in (*PORTS, None):
        carried.port(name).settimeout(PATIENCE)
    yield carried, FarEnd(far)
    carried.close()
    near.close()
    far.close()


def read(stream: socket.socket, size: int) -> bytes:
    """Exactly that many bytes."""
    data = b""
    while len(data) < size and (more := stream.recv(size - len(data))):
        data += more
    return data


def test_nothing_is_sent_before_the_multiplexer_speaks(line: tuple[SerialLine, FarEnd]) -> None:
    carried, far = line
    carried.port("client.control").sendall(b"early\n")
    far.mux.line("U-Boot 2022.04")
    far.stream.settimeout(0.2)
    with pytest.raises(TimeoutError):
        far.stream.recv(1)
    far.mux.say("server", b"Booting")
    far.serve()
    assert far.came["client.control"] == b"early\n"
    assert (far.mux.ports[far.mux.focus], far.mux.framed) == ("server.control", True)


def test_what_is_written_to_a_port_arrives_there_whoever_has_the_keyboard(
    line: tuple[SerialLine, FarEnd], tmp_path: Path
) -> None:
    carried, far = line
    far.mux.say("client", b"up")
    far.mux.line("MON|INFO: up")
    text = bytes(range(256)) * 20
    carried.port("client").sendall(text)
    carried.port("client.control").sendall(b"7 bHM=\n")
    far.serve(1.0)
    assert (far.came["client"], far.came["client.control"]) == (text, b"7 bHM=\n")
    assert far.mux.ports[far.mux.focus] == "server.control"
    carried.give_keyboard("client")
    far.serve(1.0)
    assert far.mux.ports[far.mux.focus] == "client"
    assert read(carried.port("client"), 3) == b"up\n"
    assert read(carried.port(None), 14) == b"MON|INFO: up\r\n"
    assert (tmp_path / "serial.log").read_bytes().startswith(b"client| up `2")


def test_a_frame_whose_answer_is_lost_is_sent_again_and_one_that_finds_no_room_later(
    line: tuple[SerialLine, FarEnd],
) -> None:
    carried, far = line
    answer, fates = far.mux.answer, iter((b"", b"full", b"full"))

    def unreliable(port: int, sequence: int, text: bytes) -> None:
        fate = next(fates, b"taken")
        if fate:
            answer(port, sequence, fate)

    far.mux.answer = unreliable  # type: ignore[method-assign]
    far.mux.say("server", b"Booting")
    carried.port("client").sendall(b"hello")
    far.serve(3.0)
    assert far.came["client"] == b"hello"


def test_a_guest_that_takes_nothing_holds_no_other_up(line: tuple[SerialLine, FarEnd]) -> None:
    carried, far = line
    answer = far.mux.answer
    far.mux.answer = lambda port, sequence, text: answer(port, sequence, b"full" if port == 2 else text)  # type: ignore[method-assign]
    far.mux.say("server", b"Booting")
    carried.port("client").sendall(b"x" * 10000)
    for n in range(5):
        carried.port("server.control").sendall(b"%d\n" % n)
        far.serve(0.3)
    assert far.came["server.control"] == b"0\n1\n2\n3\n4\n"


def test_the_line_is_given_back_to_a_person_at_the_end(line: tuple[SerialLine, FarEnd]) -> None:
    carried, far = line
    far.mux.say("server", b"Booting")
    far.serve()
    assert far.mux.framed
    carried.close()
    far.serve()
    assert (far.mux.focus, far.mux.framed) == (0, False)


def test_a_port_that_nobody_reads_holds_no_other_up_and_takes_little_memory(line: tuple[SerialLine, FarEnd]) -> None:
    carried, far = line
    for _ in range(8000):
        far.mux.say("client.control", b"z" * 59)
    far.mux.say("server", b"alive")
    assert read(carried.port("server"), 6) == b"alive\n"
    assert MAX_UNREAD - READ < len(carried._to_port["client.control"]) <= MAX_UNREAD
    assert carried.lost("client.control") == 0, "no command ran"


def test_an_answer_that_is_read_late_is_kept(line: tuple[SerialLine, FarEnd]) -> None:
    carried, far = line
    carried.expect_answer("client.control", True)
    for _ in range(8000):
        far.mux.say("client.control", b"z" * 59)
    assert read(carried.port("client.control"), 8000 * 60) == (b"z" * 59 + b"\n") * 8000
    assert carried.lost("client.control") == 0


def test_an_answer_that_is_not_read_is_bounded_and_counted(
    line: tuple[SerialLine, FarEnd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.console.serial_line.MAX_ANSWER", 1000)
    carried, far = line
    carried.expect_answer("client.control", True)
    for _ in range(8000):
        far.mux.say("client.control", b"z" * 59)
    far.mux.say("server", b"alive")
    assert read(carried.port("server"), 6) == b"alive\n"
    assert len(carried._to_port["client.control"]) <= 1000
    assert carried.lost("client.control") > 0


def test_the_ports_end_when_the_line_does(line: tuple[SerialLine, FarEnd]) -> None:
    carried, far = line
    far.stream.sendall(far.mux.frame("client", b"half", hidden=True))
    far.stream.shutdown(socket.SHUT_RDWR)
    assert read(carried.port("client"), 100) == b"half"
    assert carried.port("server").recv(10) == b""


def test_what_a_machine_said_before_it_ended_is_read_though_it_takes_nothing_any_more(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    mux = FakeMux(PORTS, lambda _: None)
    carried = SerialLine(near, PORTS, "server.control", tmp_path / "serial.log")
    with near, carried.port("server") as console:
        console.settimeout(PATIENCE)
        carried.port("client.control").sendall(b"anybody there?\n")
        words = [mux.frame("server", b"last words") for _ in range(500)]
        far.sendall(b"".join((mux.frame("client", b"Booting"), *words)))
        far.close()
        carried.start()
        assert read(console, 500 * 11) == b"last words\n" * 500
        carried.close()


def test_what_a_guest_has_no_room_for_is_dropped_in_time_and_the_next_line_begins_anew() -> None:
    port, now, sent = PortInput(1, lines=True), 0.0, b""

    def exchange(taken: bool) -> bytes:
        """Send what is due; what arrived."""
        frame = port.take(now)
        opened = unseal(frame[1:-1], 0, len(frame) - 14)
        assert opened is not None
        port.answered(opened.sequence, taken, now)
        return opened.body if taken else b""

    port.write(b"1 " + b"x" * 400 + b"\n")
    exchange(True)  # tells the sequence number, and carries nothing
    sent += exchange(True)
    while not port.idle:
        exchange(False)
        now = port.due() or now
        assert now < 2 * REFUSED_TIMEOUT_S
    assert port.dropped == 403 - len(sent)
    port.write(b"2 y\n")
    sent += exchange(True)
    assert sent.endswith(b"x\n2 y\n")
