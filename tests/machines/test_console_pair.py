# SPDX-License-Identifier: BSD-2-Clause
"""The console multiplexer (C) against the demultiplexer (Python): random guests, keyboards and lines.

What comes out of a port is what went in there; on a bad line, what is left when some bytes are taken away. Each guest
prints letters of its own, between texts that imitate frames of the others, so that a byte at a wrong port shows.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from router.console.frames import KEYS, give_keyboard, seal, to_port
from router.console.line_input import PortInput
from router.console.multiplexer import AGAIN, HIDE, SHOW, Demultiplexer
from tests.support.console_pair import Multiplexer, compile_pair, damaged, is_subsequence

LONG = "a" * 32
PORTS = (
    LONG,
    f"{LONG}.control",
    "client",
    "client.control",
    "aaaaaaaaaaaaaaaaaaaaaaaab",
    "aaaaaaaaaaaaaaaaaaaaaaaab.control",
)
LETTERS = (b"ABCDEFGH", b"IJKLMNOP", b"QRSTUVWX", b"01234567", b"+-*/=()!", b"[]{}<>?#")
SEEDS = [int(line) for line in (Path(__file__).parent / "pair_seeds.txt").read_text().split() if line.isdigit()]
"""Seeds that once failed, and some that never did."""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_pair(tmp_path_factory.mktemp("pair"))


def forged(chance: random.Random) -> bytes:
    """What a frame of another port looks like, tail and all."""
    port, sequence, body = chance.randrange(len(PORTS)), chance.randrange(60), b"zz"
    head = PORTS[port].encode() + chance.choice((b"| ", b"+ ", b"< "))
    end = chance.choice((b" ", HIDE))
    return seal(head + body + end, port, len(body), sequence, True) + chance.choice((b"\n", SHOW, b"\r\n", b""))


def words(port: int, chance: random.Random) -> bytes:
    """Something that a guest prints."""
    kind = chance.randrange(9)
    own = bytes(chance.choices(LETTERS[port], k=chance.choice((1, 3, 30, 260, 700))))
    if kind < 4:
        return own + chance.choice((b"", b"\n", b"\r\n", b"\r"))
    if kind == 4:
        return forged(chance)
    if kind == 5:
        return b"\n" + forged(chance) + b"\n"
    if kind == 6:
        return chance.choice(
            (AGAIN, HIDE, SHOW, b"`", b"\\", b"\\x60", b"\x1b", b"\x1c1", b"\x1e", b"\r\r\n", b"\xc3\xa9")
        )
    if kind == 7:
        return chance.randbytes(chance.choice((1, 9, 90)))
    return b"zz\n" * chance.choice((1, 2, 40))


def as_carried(printed: bytes) -> bytes:
    """What a good line delivers: one carriage return before a line feed belongs to the line end."""
    return printed.replace(b"\r\n", b"\n")


class World:
    """Both ends, the line between them, and what went in and came out."""

    def __init__(self, library: Path, seed: int, rate: float) -> None:
        self.chance = random.Random(seed)
        self.rate = rate
        self.mux = Multiplexer(library, PORTS)
        self.demux = Demultiplexer(PORTS, {name for name in PORTS if name.endswith(".control")})
        self.printed = [bytearray() for _ in PORTS]
        self.came: dict[str | None, bytearray] = {name: bytearray() for name in (*PORTS, None)}
        self.inputs = [PortInput(index) for index in range(len(PORTS))]
        self.typed = [bytearray() for _ in PORTS]
        self.read = [bytearray() for _ in PORTS]
        self.now = 0.0
        self.person = False
        self.mux.type(give_keyboard(1, 0))
        assert self.demux.feed(self.mux.line()) == []
        self.demux.answers.clear()

    def carry(self, size: int) -> int:
        """Some of the line's bytes, in pieces."""
        line = self.mux.line(size)
        data = damaged(line, self.chance, self.rate)
        while data:
            cut = self.chance.randint(1, 400)
            for name, part in self.demux.feed(data[:cut]):
                self.came[name] += part
            data = data[cut:]
        for answer in self.demux.answers:
            self.inputs[PORTS.index(answer.port)].answered(answer.sequence, answer.taken, self.now)
        self.demux.answers.clear()
        return len(line)

    def send(self) -> None:
        self.now += 0.1
        for port in self.inputs:
            self.mux.type(damaged(port.take(self.now), self.chance, self.rate))

    def step(self) -> None:
        chance, port = self.chance, self.chance.randrange(len(PORTS))
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                text = words(port, chance)
                self.printed[port] += text[: self.mux.print(port, text)]
            case 4 | 5 | 6:
                self.carry(chance.choice((1, 50, 300, 5000)))
            case 7:
                if self.person:
                    self.mux.type(bytes((0x1C, KEYS[port])))
                else:
                    self.inputs[port].ask_keyboard()
            case 8:
                if self.inputs[port].idle and not self.person:
                    text = chance.randbytes(chance.choice((1, 20, 400)))
                    self.inputs[port].write(text)
                    self.typed[port] += text
                self.send()
            case 9:
                self.read[port] += self.mux.read(port, chance.choice((1, 100, 1024)))

    def finish(self) -> None:
        """Every guest ends its line, and everything is delivered."""
        for port in range(len(PORTS)):
            while self.mux.print(port, b"\n") == 0:
                self.carry(5000)
            self.printed[port] += b"\n"
        for _ in range(400):
            self.send()
            for port in range(len(PORTS)):
                self.read[port] += self.mux.read(port)
            if self.carry(1 << 16) == 0 and all(port.due() is None for port in self.inputs):
                return


def run(library: Path, seed: int, rate: float, steps: int = 120) -> World:
    world = World(library, seed, rate)
    world.person = not rate and seed % 2 == 0
    for _ in range(steps):
        world.step()
    world.finish()
    return world


@pytest.mark.parametrize("seed", SEEDS)
def test_on_a_good_line_every_port_says_exactly_what_its_guest_printed(library: Path, seed: int) -> None:
    world = run(library, seed, 0.0)
    for index, name in enumerate(PORTS):
        assert bytes(world.came[name]) == as_carried(bytes(world.printed[index])), name
        assert bytes(world.read[index]) == bytes(world.typed[index]), name
    assert world.came[None] == b""
    assert world.demux.damaged == 0
    assert all(world.demux.lost(name) == 0 for name in PORTS)


def test_no_run_of_lost_bytes_moves_text_to_another_port(library: Path) -> None:
    """Each run that can be missing from a line full of imitations, alone and with a second one behind it."""
    chance = random.Random(3)
    mux = Multiplexer(library, PORTS)
    printed = [bytearray() for _ in PORTS]
    for port in (2, 0, 2, 4):
        head = PORTS[0].encode() if port == 2 else b"client"
        text = bytes(LETTERS[port][:3]) + head + b"| " + bytes(LETTERS[port]) + b" `0A\n"
        printed[port] += text[: mux.print(port, text)]
    line = mux.line()
    length = len(line)
    runs = [(start, end) for start in range(length) for end in range(start + 1, min(length, start + 120) + 1)]
    for start, end in runs:
        second = chance.randrange(end, length + 1)
        last = min(length, second + chance.randrange(40))
        for left in (line[:start] + line[end:], line[:start] + line[end:second] + line[last:]):
            demux = Demultiplexer(PORTS)
            for name, part in demux.feed(left):
                if name is not None:
                    assert is_subsequence(part, bytes(printed[PORTS.index(name)])), (start, end, second, last)


def test_a_frame_that_a_guest_prints_is_text_wherever_the_line_loses_bytes(library: Path) -> None:
    mux = Multiplexer(library, PORTS)
    good = seal(b"client| zz ", 2, 2, 0, True)
    mux.print(0, b"\xff" + good + b"\n" + good + b"\n")
    line = mux.line()
    for start in range(len(line)):
        for end in range(start, len(line) + 1):
            assert all(name != "client" for name, _ in Demultiplexer(PORTS).feed(line[:start] + line[end:]))


@pytest.mark.parametrize("rate", [0.0005, 0.005, 0.05])
@pytest.mark.parametrize("seed", SEEDS)
def test_on_a_bad_line_nothing_comes_out_of_a_port_that_did_not_go_in_there(
    library: Path, seed: int, rate: float
) -> None:
    world = run(library, seed, rate)
    for index, name in enumerate(PORTS):
        assert is_subsequence(bytes(world.came[name]), bytes(world.printed[index])), name
        assert is_subsequence(bytes(world.read[index]), bytes(world.typed[index])), name


BYTES_A_SECOND = 11520
"""Of a line at 115,200 baud."""
FLOODS = {"none": (), "consoles": (0, 2, 4), "all": (0, 1, 2, 4, 5)}


def bytes_until_answered(library: Path, answer: bytes, floods: tuple[int, ...]) -> int:
    """Bytes on the line from a command's frame to the end of its answer on port 3, while the others print."""
    mux, demux = Multiplexer(library, PORTS), Demultiplexer(PORTS)
    text = dict.fromkeys(floods, b"server.control| 1 x 0 `000000000000\r\n" * 100 + b"\x01" * 2000)
    for port, words_ in text.items():
        mux.print(port, words_)
    mux.line(50_000)
    mux.type(to_port(3, 1, b"7 bHM=\n")[0])
    came, left, count = b"", answer, 0
    while len(came) < len(answer):
        left = left[mux.print(3, left) :]
        for port, words_ in text.items():
            mux.print(port, words_)
        line = mux.line(16)  # as much as a device takes at a time
        count += len(line)
        came += b"".join(part for name, part in demux.feed(line) if name == PORTS[3])
        assert line
    assert came == answer
    return count


@pytest.mark.parametrize("floods", [key for key in FLOODS if key != "none"])
def test_beside_floods_answers_are_there_soon(library: Path, floods: str) -> None:
    lone = bytes_until_answered(library, b"7 x 0\n", FLOODS[floods])
    listing = b"".join(b"7 o %s\n" % (b"YWJj" * 100) for _ in range(30)) + b"7 x 0\n"
    peace, flood = (bytes_until_answered(library, listing, FLOODS[each]) for each in ("none", floods))
    print(f"{floods}: true {lone / BYTES_A_SECOND:.3f} s, a listing {flood / peace:.2f} times its time in peace")
    assert lone < BYTES_A_SECOND / 5
    assert flood < 1.5 * peace
