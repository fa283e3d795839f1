# SPDX-License-Identifier: BSD-2-Clause
"""TFTP packets and option negotiation (RFC 1350, 2347, 2348, 2349, 7440). Pure: bytes in, values out."""

from __future__ import annotations

import struct
from dataclasses import dataclass

RRQ, WRQ, DATA, ACK, ERROR, OACK = 1, 2, 3, 4, 5, 6

# Error codes of RFC 1350, appendix; 8 is RFC 2347's.
UNDEFINED, NOT_FOUND, ACCESS, FULL, ILLEGAL, BAD_OPTION = 0, 1, 2, 3, 4, 8

DEFAULT_BLKSIZE = 512
MIN_BLKSIZE, MAX_BLKSIZE = 8, 65464  # RFC 2348
MIN_TIMEOUT, MAX_TIMEOUT = 1, 255  # seconds, RFC 2349
MAX_WINDOW = 65535  # RFC 7440
WINDOW_BYTES = 65536  # a window that overruns the client's socket buffer loses its end every time
MAX_REQUEST = 512  # octets, RFC 2347: a request packet with its options


class RequestError(ValueError):
    """A request that is answered with an ERROR packet of this code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """A read request in mode octet: the name as asked for and its options (names in lower case)."""

    name: str
    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed. blksize in bytes, window in blocks, timeout in seconds; `accepted` goes into the OACK."""

    blksize: int = DEFAULT_BLKSIZE
    window: int = 1
    timeout: float | None = None
    accepted: tuple[tuple[str, int], ...] = ()


def parse_request(packet: bytes) -> Request:
    """Decode a read request; RequestError says with which code to refuse anything else.

    Zero bytes behind the last field are padding: some boot ROMs send requests of a fixed length.
    """
    if len(packet) < 2:
        raise RequestError(ILLEGAL, "a packet without an opcode")
    (opcode,) = struct.unpack_from(">H", packet)
    if opcode == WRQ:
        raise RequestError(ACCESS, "this server is read-only")
    if opcode != RRQ:
        raise RequestError(ILLEGAL, f"opcode {opcode} is not a request")
    if packet[-1] == 0:
        packet = packet.rstrip(b"\0") + b"\0"
    if len(packet) > MAX_REQUEST:
        raise RequestError(ILLEGAL, f"a request of {len(packet)} bytes; {MAX_REQUEST} are allowed")
    if packet[-1] != 0:
        raise RequestError(ILLEGAL, "the request does not end in a zero byte")
    try:
        fields = [field.decode("ascii") for field in packet[2:-1].split(b"\0")]
    except UnicodeDecodeError:
        raise RequestError(ILLEGAL, "the request is not ASCII") from None
    if len(fields) < 2 or not fields[0]:
        raise RequestError(ILLEGAL, "the request lacks a file name or a mode")
    name, mode, rest = fields[0], fields[1].lower(), fields[2:]
    if mode != "octet":
        raise RequestError(ILLEGAL, f"mode {mode!r} is not served")
    if len(rest) % 2:
        raise RequestError(ILLEGAL, "an option without a value")
    options: dict[str, str] = {}
    for key, value in zip(rest[::2], rest[1::2], strict=True):
        if options.setdefault(key.lower(), value) != value:
            raise RequestError(BAD_OPTION, f"option {key!r} twice")
    return Request(name, options)


def negotiate(request: Request, size: int, max_blksize: int = MAX_BLKSIZE, max_window: int = MAX_WINDOW) -> Terms:
    """Agree on the options of a request for `size` bytes; unknown ones are left out, as RFC 2347 has it.

    A value beyond ours is answered with ours (RFC 2348 and 7440 allow a smaller one), and a window is kept to
    WINDOW_BYTES, whatever the block size, since options come in any order. RequestError when a value is no
    number or below the permitted range.
    """
    blksize, window, timeout = DEFAULT_BLKSIZE, 1, None
    accepted: list[tuple[str, int]] = []
    for key, text in request.options.items():
        if key not in ("blksize", "tsize", "timeout", "windowsize"):
            continue
        if not (text.isascii() and text.isdigit()) or len(text) > 10:
            raise RequestError(BAD_OPTION, f"{key}={text:.20s} is not a number in range")
        value = int(text)
        if key == "tsize":
            if size == 0:
                continue  # curl takes an answer of 0 for an error; RFC 2347 lets a server pass an option over
            value = size
        elif key == "blksize":
            if value < MIN_BLKSIZE:
                raise RequestError(BAD_OPTION, f"blksize {value} is below {MIN_BLKSIZE}")
            blksize = value = min(value, max_blksize)
        elif key == "windowsize":
            if value < 1:
                raise RequestError(BAD_OPTION, "windowsize 0")
            window = value = min(value, max_window)
        else:
            if not MIN_TIMEOUT <= value <= MAX_TIMEOUT:
                raise RequestError(BAD_OPTION, f"timeout {value} is not within {MIN_TIMEOUT} to {MAX_TIMEOUT} s")
            timeout = float(value)
        accepted.append((key, value))
    if window * blksize > WINDOW_BYTES:
        window = max(1, WINDOW_BYTES // blksize)
        accepted = [(key, window if key == "windowsize" else value) for key, value in accepted]
    return Terms(blksize, window, timeout, tuple(accepted))


def oack(terms: Terms) -> bytes:
    """The option acknowledgement packet for the agreed terms."""
    return struct.pack(">H", OACK) + b"".join(f"{key}\0{value}\0".encode() for key, value in terms.accepted)


def error(code: int, message: str) -> bytes:
    """An ERROR packet."""
    return struct.pack(">HH", ERROR, code) + message.encode("ascii", "replace")[:200] + b"\0"


def parse_error(packet: bytes) -> str:
    """The text of a peer's ERROR packet, with its code."""
    code = struct.unpack_from(">H", packet, 2)[0] if len(packet) >= 4 else UNDEFINED
    text = packet[4:].split(b"\0")[0].decode("ascii", "replace")
    return f"error {code}: {text}" if text else f"error {code}"
