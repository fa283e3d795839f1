# SPDX-License-Identifier: BSD-2-Clause
"""The frames of the shared serial line (docs/reference/serial-line.md, drivers/mux_frame.h), in both directions.

A frame is a head, a body and a tail. The tail is a mark that no body contains, the key of the port, four characters
with the body's length (8 bits), the sequence number (15 bits) and a flag, and six with the CRC-32 of all before them.
"""

from __future__ import annotations

import re
import string
import zlib
from dataclasses import dataclass

MAX_BODY = 240
"""Bytes of a body, as they are on the line (`FRAME_BODY`)."""
MARK = b"`"
TAIL = 12
"""Bytes of a tail, the mark included."""
SEQUENCES = 1 << 15
START = b"\x1e"
"""Begins a frame towards the multiplexer; a line feed ends it (`MUX_FRAME`)."""
KEYS = (string.digits + string.ascii_letters).encode()
"""The key of port n is the n-th."""
RELEASE = b"keys"
"""Body of the frame that lets a person type again (`MUX_KEYS`)."""

_DIGITS = KEYS + b"+/"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_ESCAPE = re.compile(rb"\\(?:\\|x[0-9a-f]{2})?")
_SPECIAL = re.compile(rb"[^\t\x20-\x7e]|[`\\]")


@dataclass(frozen=True)
class Frame:
    """One frame without its head. `body` is decoded, `length` what it had on the line."""

    port: int
    sequence: int
    flag: bool
    """Towards the host: a line end follows the body. Towards the multiplexer: the port gets the keyboard."""
    body: bytes
    length: int


def _number(value: int, digits: int) -> bytes:
    return bytes(_DIGITS[value >> 6 * place & 63] for place in reversed(range(digits)))


def _value(digits: bytes) -> int | None:
    value = 0
    for digit in digits:
        if digit not in _VALUES:
            return None
        value = value << 6 | _VALUES[digit]
    return value


def escape(data: bytes) -> bytes:
    """Any bytes as a body in printable characters."""
    return _SPECIAL.sub(lambda found: b"\\\\" if found[0] == b"\\" else b"\\x%02x" % found[0][0], data)


def unescape(body: bytes) -> bytes | None:
    """The bytes of a body; None when an escape makes no sense."""
    if b"\\" not in body:
        return body
    parts: list[bytes] = []
    at = 0
    for found in _ESCAPE.finditer(body):
        parts.append(body[at : found.start()])
        at = found.end()
        if len(found[0]) == 1:
            return None
        parts.append(b"\\" if found[0] == b"\\\\" else bytes((int(found[0][2:], 16),)))
    return b"".join((*parts, body[at:]))


def seal(frame: bytes, port: int, length: int, sequence: int, flag: bool) -> bytes:
    """A frame's head and body, with the tail. length: of the body, as it is in `frame`."""
    frame += MARK + KEYS[port : port + 1] + _number(length << 16 | sequence % SEQUENCES << 1 | flag, 4)
    return frame + _number(zlib.crc32(frame), 6)


def unseal(frame: bytes, start: int, end: int) -> Frame | None:
    """The frame whose body is frame[start:end] and whose last `TAIL` bytes are the tail; None when it is damaged."""
    tail = frame[-TAIL:]
    meta, check = _value(tail[2:6]), _value(tail[6:])
    port = KEYS.find(tail[1:2])
    if len(tail) < TAIL or tail[:1] != MARK or meta is None or port < 0 or check != zlib.crc32(frame[:-6]):
        return None
    body = unescape(frame[start:end])
    if body is None or meta >> 16 != end - start:
        return None
    return Frame(port, (meta >> 1) % SEQUENCES, bool(meta & 1), body, end - start)


def to_port(port: int, sequence: int, data: bytes) -> tuple[bytes, bytes]:
    """A frame towards the multiplexer with as much of `data` as it holds, and the rest."""
    body = b""
    for place in range(len(data)):
        more = escape(data[place : place + 1])
        if len(body) + len(more) > MAX_BODY:
            return START + seal(body, port, len(body), sequence, False) + b"\n", data[place:]
        body += more
    return START + seal(body, port, len(body), sequence, False) + b"\n", b""


def give_keyboard(port: int, sequence: int, *, release: bool = False) -> bytes:
    """A frame that gives a port the keyboard; release: for a person who types.

    The start comes many times: until the first such frame was taken, bytes outside a frame are a person's keys, and a
    frame whose start is lost would be typed. Later it would be dropped.
    """
    body = RELEASE if release else b""
    return 16 * START + seal(body, port, len(body), sequence, True) + b"\n"
