# SPDX-License-Identifier: BSD-2-Clause
"""A TFTP client that may be hostile: its request, and what it answers to the packets of a transfer.

Each packet that it gets must hold the file's own bytes, in the terms that the server has confirmed. However it floods
or stays silent, the server sends a bounded number of packets for each of its own, and gives up in the promised time
after the last block that was sent or acknowledged for the first time.
"""

from __future__ import annotations

import struct
from typing import Any

from router.deploy.tftp import transfer, wire
from router.deploy.tftp.transfer import CLIENT_TIMEOUT_S, MAX_RTO, Transfer, TransferError

from ._clock import FakeTime, fake_time
from ._reader import Reader

CONTENT = bytes(range(251)) * 17
SIZES = (0, 1, 7, 8, 511, 512, 513, 1024, len(CONTENT))
PACKET_S = 0.02
"""Between two packets of a client that floods."""


class Client:
    """The transfer's socket, with the client at its other end."""

    def __init__(self, reader: Reader, clock: FakeTime, terms: wire.Terms, data: bytes) -> None:
        self.reader, self.clock, self.terms, self.data = reader, clock, terms, data
        self.rto = 0.0
        self.last = 0
        """The last block that was sent to it."""
        self.acknowledged = 0
        """The highest block that it has acknowledged; a file here has less than 65536."""
        self.sent: set[int] = set()
        self.packets = self.answers = 0
        self.flood: bytes | None = None
        """What it says for ever once the input has ended; None: nothing."""
        self.patience = max(CLIENT_TIMEOUT_S, 5 * (terms.timeout or 0)) + 4 * MAX_RTO
        self.progress = clock.now

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        seconds, micro = struct.unpack("@ll", value)
        self.rto = seconds + micro / 1e6
        assert 0 < self.rto <= MAX_RTO, "a retransmission time-out within its limits"

    def send(self, packet: bytes | memoryview) -> int:
        self.heard(bytes(packet))
        return len(packet)

    def sendmsg(self, parts: list[memoryview], options: list[tuple[int, int, bytes]]) -> None:
        (size,) = struct.unpack("=H", options[0][2])
        span = bytes(parts[0])
        for at in range(0, len(span), size):
            self.heard(span[at : at + size])

    def heard(self, packet: bytes) -> None:
        self.packets += 1
        limit = (self.answers + 2) * (self.terms.window + 1)
        assert self.packets <= limit, "no more than a window for each packet, and each silence, of the client"
        if packet[:2] == struct.pack(">H", wire.OACK):
            assert self.terms.accepted and packet == wire.oack(self.terms)
            return
        opcode, block = struct.unpack_from(">HH", packet)
        assert opcode == wire.DATA
        size = self.terms.blksize
        assert packet[4:] == self.data[(block - 1) * size : block * size], "the file's own bytes"
        self.last = block
        if block not in self.sent:
            self.sent.add(block)
            self.progress = self.clock.now

    def recv(self, size: int) -> bytes:
        self.answers += 1
        assert self.clock.now - self.progress <= self.patience, "a client that makes no progress is given up"
        packet = self.answer()[:size]
        if len(packet) >= 4 and packet[:2] == struct.pack(">H", wire.ACK):
            (block,) = struct.unpack_from(">H", packet, 2)
            if block in self.sent and block > self.acknowledged:
                self.acknowledged, self.progress = block, self.clock.now
        if packet:
            self.clock.now += PACKET_S
            return packet
        self.clock.now += self.rto
        raise BlockingIOError

    def answer(self) -> bytes:
        if not self.reader:
            return self.flood or b""
        kind = self.reader.number(1)
        match kind % 8:
            case 0 | 1 | 2:  # an honest answer
                return struct.pack(">HH", wire.ACK, self.last)
            case 3:
                return struct.pack(">HH", wire.ACK, (self.last - (kind >> 3)) & 0xFFFF)
            case 4:
                return b""
            case 5:
                self.flood = struct.pack(">HH", wire.ACK, self.reader.number(2))
                return self.flood
            case 6:
                self.flood = self.reader.take(kind >> 3)
                return self.flood
            case _:
                if kind & 8:
                    raise ConnectionRefusedError
                return struct.pack(">HH", wire.ERROR, kind >> 4) + self.reader.take(8)


def one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    content = CONTENT[: SIZES[data[0] % len(SIZES)]]
    length = data[1] << 1 | data[0] >> 7
    packet, rest = data[2 : 2 + length], data[2 + length :]
    try:
        request = wire.parse_request(packet)
        terms = wire.negotiate(request, len(content), 1428, 64)
    except wire.RequestError as error:
        refusal = wire.error(error.code, str(error))
        assert len(refusal) <= 205 and wire.parse_error(refusal)
        return
    assert all(name.isascii() for name in (request.name, *request.options))
    assert terms.window * terms.blksize <= max(wire.WINDOW_BYTES, terms.blksize)
    with fake_time(transfer) as clock:
        client: Any = Client(Reader(rest), clock, terms, content)
        try:
            tally = Transfer(client, memoryview(content), terms).run()
        except TransferError as error:
            assert str(error)
            return
        assert tally.bytes_sent == len(content)
        assert len(client.sent) == len(content) // terms.blksize + 1, "every block was sent"


def seed(size: int, words: tuple[str, ...], answers: bytes) -> bytes:
    packet = struct.pack(">H", wire.RRQ) + b"".join(word.encode() + b"\0" for word in words)
    return bytes([SIZES.index(size) | (len(packet) & 1) << 7, len(packet) >> 1]) + packet + answers


def seeds() -> list[bytes]:
    usual = ("loader.img", "octet", "blksize", "1024", "tsize", "0", "timeout", "1", "windowsize", "4")
    return [
        seed(513, ("loader.img", "octet"), bytes(4)),
        seed(len(CONTENT), usual, bytes(12)),
        seed(len(CONTENT), usual, bytes([0, 4, 3, 11, 0, 4, 4, 0, 0])),
        seed(len(CONTENT), ("a", "OCTET", "blksize", "8"), bytes([5, 1, 0])),
        seed(len(CONTENT), usual, bytes([0, 0x26, 0, 9, 1, 1])),
        seed(1024, ("a", "octet", "windowsize", "2"), bytes([0, 7, 65, 66, 0])),
        seed(0, ("a", "netascii"), b""),
    ]
