# SPDX-License-Identifier: BSD-2-Clause
"""The shared serial line: guests print anything, the kernel talks in between, the line loses and alters bytes.

What comes out of a port is a subsequence of what went in there; of a control channel's port only whole lines come. It
makes no difference in which pieces the bytes arrive, and a line that does not end costs little memory. Where the system
answers a question for the switch's counters, what is found is what was told, nothing, or a typed error.
"""

from __future__ import annotations

from router.console.counts import ASKS, FRAMES, MAX_VALUE, MAX_VALUES, Counts, Question
from router.console.frames import MARK, MAX_BODY, escape, seal, unseal
from router.console.multiplexer import MAX_SYSTEM_LINE, MAX_WHOLE_LINE, Demultiplexer
from router.errors import MachineError
from tests.support.fake_mux import FakeMux

from ._reader import Reader

PORTS = ("a", "ab", "a+control", "linux")
WHOLE = PORTS[2]
SEQUENCE = 7
"""Of the question whose answer is on the line."""
ANSWERS = (
    b"counts 0 frames 0/2 1 18446744073709551615",
    b"counts 0 frames 0/2 1 18446744073709551616",
    b"counts 0 packets 0/49 1",
    b"counts 1 nothing 0/0",
    b"counts 0 frames 1/2 1 2",
    b"counts 0 frames 0/2 \xb2 1",
)
"""Bodies in the form of an answer, within its bounds and just outside."""
COUNTS = Counts(FRAMES, tuple(MAX_VALUE - n if n % 3 else n for n in range(MAX_VALUES)))
MAX_KEPT = MAX_SYSTEM_LINE + 2 * MAX_BODY
"""Bytes of an unfinished line."""


def write(reader: Reader, said: dict[str, list[bytes]]) -> tuple[bytes, bool, bool]:
    """The line as a multiplexer writes it, whether it has frames only, none of which goes on in another's line, and
    whether all answers of the system are what a system says.
    """
    mux = FakeMux(PORTS, lambda data: None)
    line: list[bytes] = []
    plain = honest = True
    for _ in range(64):
        if not reader:
            break
        kind = reader.number(1)
        port, size = PORTS[kind & 3], reader.number(1)
        text = reader.take(min(size, MAX_BODY // 4))
        plain &= kind >> 2 & 7 not in (3, 4, 5)
        match kind >> 2 & 7:
            case 0 | 1:
                line.append(mux.frame(port, text.replace(b"\n", b""), ended=True))
                said[port].append(text.replace(b"\n", b"") + b"\n")
            case 2:
                line.append(mux.frame(port, text, b"+" if kind & 32 else b"|", ended=False))
                said[port].append(text)
            case 3:
                line.append(mux.frame(port, text, ended=False, hidden=True))
                said[port].append(text)
            case 4:
                line.append(mux.again(port, text.replace(MARK, b"").replace(b"\n", b"")))
            case 5:  # the kernel or the loader, which print no frames
                line.append(text.replace(MARK, b"'"))
            case 6 if kind & 32:  # the system answers, or says anything in the form of an answer
                if kind & 64:
                    honest = False
                    line.append(seal(b"system< " + escape(text) + b" ", len(PORTS), len(escape(text)), SEQUENCE, True))
                    line.append(b"\r\n")
                else:
                    line += mux.counters(b"0", COUNTS, SEQUENCE, size=1 + size % 12)
            case 6:
                line.append(b"\r\n")
            case _:  # the same text again, many times: a guest that floods
                for _ in range(kind >> 5):
                    line.append(mux.frame(port, text, ended=False))
                    said[port].append(text)
    return b"".join(line), plain, honest


def damage(line: bytes, reader: Reader) -> bytes:
    """Loses, repeats or alters some bytes of the line."""
    damaged = bytearray(line)
    for _ in range(reader.number(1) % 5):
        at = reader.number(2) % (len(damaged) + 1)
        kind = reader.number(1)
        if kind & 1:
            del damaged[at : at + (kind >> 1)]
        elif at < len(damaged):
            damaged[at] ^= kind or 1
    return bytes(damaged)


def ask(line: bytes) -> Counts | None:
    """What a question for the switch's counters finds on the line."""
    demux, question = Demultiplexer(PORTS, {WHOLE}), Question(len(PORTS), 0)
    asked = unseal(question.take(0.0)[1:-1], 0, len(ASKS) + 1)
    assert asked is not None and asked.body == ASKS + b"0"
    for at in range(0, len(line), 512):
        demux.feed(line[at : at + 512])
        for said in demux.said:
            # The line's answers are to one number, which no question can know before.
            question.said(asked.sequence if said.sequence == SEQUENCE else said.sequence, said.body, 0.0)
        demux.said.clear()
    try:
        found = question.wait(0)
    except MachineError:
        return None
    if found is not None:
        assert len(found.values) <= MAX_VALUES
        assert all(0 <= value <= MAX_VALUE for value in found.values)
    return found


def is_subsequence(part: bytes, whole: bytes) -> bool:
    at = 0
    for byte in part:
        at = whole.find(byte, at) + 1
        if not at:
            return False
    return True


def read(line: bytes, step: int) -> dict[str | None, bytes]:
    """What comes out of each port when the line arrives in pieces of that size."""
    demux = Demultiplexer(PORTS, {WHOLE})
    found: dict[str | None, bytes] = {}
    for at in range(0, len(line), step):
        for name, part in demux.feed(line[at : at + step]):
            assert name is None or name in PORTS
            assert name != WHOLE or part.endswith(b"\n"), "whole lines only"
            found[name] = found.get(name, b"") + part
        kept = len(demux._text) + sum(len(port.line) for port in demux._ports)
        assert kept <= MAX_KEPT + step + MAX_WHOLE_LINE + MAX_BODY, "little is kept of a line that does not end"
    for name, part in demux.end():
        found[name] = found.get(name, b"") + part
    return found


def one_input(data: bytes) -> None:
    reader = Reader(data)
    step, losses = reader.number(1) + 1, Reader(reader.take(16))
    said: dict[str, list[bytes]] = {name: [] for name in PORTS}
    clean, plain, honest = write(reader, said)
    line = damage(clean, losses)
    found = read(line, step)
    for name in PORTS:
        assert is_subsequence(found.get(name, b""), b"".join(said[name])), name
    if plain and line == clean:
        for name in PORTS:
            if name != WHOLE:
                assert found.get(name, b"") == b"".join(said[name]), "an undamaged line loses nothing"
    assert found == read(line, 1 << 20), "pieces make no difference"
    counted = ask(line)
    assert counted in (None, COUNTS) or not honest, "what is found is what was told"


def seeds() -> list[bytes]:
    head, none = bytes([6]), bytes(16)
    hello = bytes([0, 5]) + b"hello" + bytes([1, 3]) + b"a\\`" + bytes([2, 4]) + b"1 x\n"
    return [
        head + none + hello,
        head + bytes([2, 7, 0, 3, 20, 0, 64]) + bytes(9) + hello,
        head + none + bytes([8, 3]) + b"abc" + bytes([8 | 32, 3]) + b"def" + bytes([0, 0]),
        head + none + bytes([12, 4]) + b"log:" + bytes([16, 4]) + b"log:" + bytes([20, 5]) + b"[  0." + bytes([24, 0]),
        head + none + bytes([0xFC | 3, 60]) + b"\x1b`\\\xff" * 15,
        head + none + bytes([56, 9]) + bytes(9) + hello + bytes([56, 2]) + bytes(2),
        head + bytes([1, 60, 0, 9]) + bytes(12) + bytes([56, 9]) + bytes(9) + hello,
        *(head + none + bytes([120, len(text)]) + text for text in ANSWERS),
        head + none + bytes([20, 9]) + b"a| x `0000" + bytes([24, 0]) + hello,
    ]
