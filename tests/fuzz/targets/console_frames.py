# SPDX-License-Identifier: BSD-2-Clause
"""The shared serial line: guests print anything, the kernel talks in between, the line loses and alters bytes.

What comes out of a port is a subsequence of what went in there; of a control channel's port only whole lines come. It
makes no difference in which pieces the bytes arrive, and a line that does not end costs little memory.
"""

from __future__ import annotations

from router.console.frames import MARK, MAX_BODY
from router.console.multiplexer import MAX_SYSTEM_LINE, MAX_WHOLE_LINE, Demultiplexer
from tests.support.fake_mux import FakeMux

from ._reader import Reader

PORTS = ("a", "ab", "a+control", "linux")
WHOLE = PORTS[2]
MAX_KEPT = MAX_SYSTEM_LINE + 2 * MAX_BODY
"""Bytes of an unfinished line."""


def write(reader: Reader, said: dict[str, list[bytes]]) -> tuple[bytes, bool]:
    """The line as a multiplexer writes it, and whether it has frames only, none of which goes on in another's line."""
    mux = FakeMux(PORTS, lambda data: None)
    line: list[bytes] = []
    plain = True
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
            case 6:
                line.append(b"\r\n")
            case _:  # the same text again, many times: a guest that floods
                for _ in range(kind >> 5):
                    line.append(mux.frame(port, text, ended=False))
                    said[port].append(text)
    return b"".join(line), plain


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
    clean, plain = write(reader, said)
    line = damage(clean, losses)
    found = read(line, step)
    for name in PORTS:
        assert is_subsequence(found.get(name, b""), b"".join(said[name])), name
    if plain and line == clean:
        for name in PORTS:
            if name != WHOLE:
                assert found.get(name, b"") == b"".join(said[name]), "an undamaged line loses nothing"
    assert found == read(line, 1 << 20), "pieces make no difference"


def seeds() -> list[bytes]:
    head, none = bytes([6]), bytes(16)
    hello = bytes([0, 5]) + b"hello" + bytes([1, 3]) + b"a\\`" + bytes([2, 4]) + b"1 x\n"
    return [
        head + none + hello,
        head + bytes([2, 7, 0, 3, 20, 0, 64]) + bytes(9) + hello,
        head + none + bytes([8, 3]) + b"abc" + bytes([8 | 32, 3]) + b"def" + bytes([0, 0]),
        head + none + bytes([12, 4]) + b"log:" + bytes([16, 4]) + b"log:" + bytes([20, 5]) + b"[  0." + bytes([24, 0]),
        head + none + bytes([0xFC | 3, 60]) + b"\x1b`\\\xff" * 15,
        head + none + bytes([20, 9]) + b"a| x `0000" + bytes([24, 0]) + hello,
    ]
