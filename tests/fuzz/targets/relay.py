# SPDX-License-Identifier: BSD-2-Clause
"""A hostile server behind the relay of --validate: what reaches the kernel is what a kernel can bear.

The kernel is honest, but may have read the descriptors in its own way: whether a submission is isochronous is the
input's choice. The oracle frames both streams by the kernel's own numbers.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from router.usbip.client.relay import Relay
from router.usbip.protocol import urb
from router.usbip.protocol.handshake import WireError
from router.usbip.runtime.event_loop import Loop
from router.usbip.virtual.audio import Microphone

from ._reader import Reader

_loop = Loop()
AUDIO = Microphone().config_descriptor


class Strict(Relay):
    """A relay that lets an exception out that is none of a peer's making."""

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, (OSError, EOFError, WireError)):
            raise error
        super()._fail(error)


class Kernel:
    """The kernel's knowledge: what it submitted, and what may come back."""

    def __init__(self) -> None:
        self.seqnum = 0
        self.pending: dict[int, urb.Submit] = {}
        self.unlinks: dict[int, int] = {}
        self.data = bytearray()

    def submit(self, reader: Reader) -> bytes:
        self.seqnum += 1
        kind = reader.number(1)
        direction, endpoint, length = kind & 1, (kind >> 1) & 15, reader.number(2)
        packets = reader.number(1) % 5 if kind & 0x20 else 0
        size = length // packets if packets else 0
        iso = [(n * size, size) for n in range(packets)] if packets else None
        setup = reader.take(8).ljust(8, b"\0") if not endpoint else bytes(8)
        data = bytes(length) if direction == urb.OUT else b""
        submit = urb.Submit(self.seqnum, 1, direction, endpoint, length, data, setup, iso=iso)
        self.pending[self.seqnum] = submit
        return urb.pack_submit(submit)

    def unlink(self, reader: Reader) -> bytes:
        self.seqnum += 1
        self.unlinks[self.seqnum] = target = reader.number(1)
        return urb.pack_unlink(urb.Unlink(self.seqnum, 1, target))

    def check(self, data: bytes) -> None:
        """What came from the relay."""
        self.data += data
        at = 0
        while len(self.data) - at >= urb.HEADER_SIZE:
            command, seqnum, devid, direction, endpoint, status, actual, _, packets, errors = struct.unpack_from(
                ">5I5i", self.data, at
            )
            assert (devid, direction, endpoint) == (0, 0, 0)
            assert -4095 <= status <= 0
            at += urb.HEADER_SIZE
            if command == urb.RET_UNLINK:
                target = self.unlinks.pop(seqnum)
                if status:
                    self.pending.pop(target, None)
                continue
            assert command == urb.RET_SUBMIT
            submit = self.pending.pop(seqnum)
            assert 0 <= actual <= submit.length, "CVE-2016-3955"
            assert packets == len(submit.iso or ()), "CVE-2026-31607"
            assert 0 <= errors <= packets
            at += actual if submit.direction == urb.IN else 0
            assert at + packets * urb.ISO_SIZE <= len(self.data), "only whole answers pass"
            total = 0
            for offset, length in submit.iso or ():
                found = struct.unpack_from(">3I", self.data, at)
                assert found[:2] == (offset, length) and found[2] <= length
                total += found[2]
                at += urb.ISO_SIZE
            assert submit.iso is None or total == actual
        del self.data[:at]


def answer(reader: Reader, kernel: Kernel) -> bytes:
    """Something like an answer: mostly right, with one field of the input's choice."""
    kind = reader.number(1)
    if kind & 0x80:
        return reader.take(kind & 0x3F)
    seqnum = reader.number(1)
    if kind & 0x40:
        return urb.pack_unlinked(seqnum, -reader.number(2))
    submit = kernel.pending.get(seqnum)
    if submit is None:
        return urb.pack_return(seqnum, 0, 0)
    iso = [(offset, length, length, 0) for offset, length in submit.iso or ()]
    actual = sum(length for _, length in submit.iso) if submit.iso else submit.length
    packets = len(iso)
    data = b""
    if submit.direction == urb.IN:
        data = (AUDIO if not submit.endpoint and kind & 8 else reader.take(64)).ljust(actual, b"\0")[:actual]
    if kind & 1:
        actual = reader.number(4, signed=True)
    if kind & 2:
        packets = reader.number(1, signed=True)
    if kind & 4 and iso:
        iso[0] = (reader.number(1), iso[0][1], reader.number(2), 0)
    status = -reader.number(2) if kind & 0x10 else 0
    return urb.pack_return(seqnum, status, actual, 0, packets, 0) + data + urb.pack_iso_results(iso)


def one_input(data: bytes) -> None:
    reader = Reader(data)
    kernel = Kernel()
    kernel_sock, kernel_end = socket.socketpair()
    server_sock, server_end = socket.socketpair()
    over: list[int] = []
    relay = Strict(_loop, server_end, kernel_end, lambda: over.append(1))
    for sock in (kernel_sock, server_sock):
        sock.setblocking(False)
    try:
        for _ in range(40):
            if not reader or over:
                break
            choice = reader.number(1) % 3
            if choice == 2:
                server_sock.send(answer(reader, kernel))
            else:
                kernel_sock.send(kernel.unlink(reader) if choice else kernel.submit(reader))
            _loop.run_once(0)
            _loop.run_once(0)
            with contextlib.suppress(BlockingIOError):
                kernel.check(kernel_sock.recv(1 << 20))
            with contextlib.suppress(BlockingIOError):
                server_sock.recv(1 << 20)
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
        pass
    relay.close()
    kernel_sock.close()
    server_sock.close()
    assert over == [1]


def seeds() -> list[bytes]:
    configuration = struct.pack("<BBHHH", 0x80, 6, 0x0200, 0, len(AUDIO))
    chosen = struct.pack("<BBHHH", 0, 9, 1, 0, 0), struct.pack("<BBHHH", 1, 11, 1, 1, 0)
    begin = bytes([0, 1]) + len(AUDIO).to_bytes(2, "little") + configuration + bytes([2, 8, 1])
    begin += bytes([0, 0, 0, 0]) + chosen[0] + bytes([2, 0, 2]) + bytes([0, 0, 0, 0]) + chosen[1] + bytes([2, 0, 3])
    stream = bytes([0, 0x23, 192, 0, 2])
    return [
        begin + stream + bytes([2, 0, 4]) + bytes(64),
        begin + stream + bytes([2, 4, 4]) + bytes(64) + bytes([1, 9, 9]),
        begin + stream + bytes([1, 4, 2, 0x40, 5, 104, 0]),
        bytes([0, 3, 100, 0, 2, 1, 1]) + bytes(64) + b"\x10\x00\x00\x00",
    ]
