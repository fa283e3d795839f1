# SPDX-License-Identifier: BSD-2-Clause
"""A QEMU with a guest in one: the front end of vhost-user for one vsock device, with its rings written in Python.

Addresses are a guest's in the rings and QEMU's in the messages, as they are there.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import mmap
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from tests.support.patience import PATIENCE, wait_until

REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
STREAM = 1
GUEST_ADDRESS = 0x4000_0000
USER_ADDRESS = 0x7F12_0000_0000
FEATURES = 0x1_7000_0000
"""What QEMU 7.2 sets for a Debian guest: VERSION_1, bit 30, EVENT_IDX, INDIRECT."""
RX_BUFFER = 3776
"""Debian's receive buffers: one descriptor of so many bytes each."""
HEADER = struct.Struct("<QQIIIHHIII")


class Header(NamedTuple):
    """struct virtio_vsock_hdr (virtio 1.2, 5.10.6)."""

    source_cid: int
    destination_cid: int
    source_port: int
    destination_port: int
    length: int
    type: int
    operation: int
    flags: int = 0
    buf_alloc: int = 0
    fwd_cnt: int = 0

    def pack(self) -> bytes:
        return HEADER.pack(*self)


class Packet(NamedTuple):
    header: Header
    payload: bytes


class Ring:
    """One split virtqueue of `size` entries in a guest's memory, at `place` bytes into it."""

    def __init__(self, memory: mmap.mmap, place: int, size: int) -> None:
        self.memory, self.size = memory, size
        self.desc = place
        self.avail = self.desc + 16 * size
        self.used = (self.avail + 6 + 2 * size + 3) & ~3
        self.end = self.used + 6 + 8 * size
        self.added = 0
        self.taken = 0

    def describe(self, entry: int, address: int, length: int, flags: int = 0, following: int = 0) -> None:
        struct.pack_into("<QIHH", self.memory, self.desc + 16 * entry, address, length, flags, following)

    def add(self, head: int) -> None:
        """Make a chain available."""
        struct.pack_into("<H", self.memory, self.avail + 4 + 2 * (self.added % self.size), head)
        self.added = (self.added + 1) % 65536
        struct.pack_into("<H", self.memory, self.avail + 2, self.added)

    def used_index(self) -> int:
        (index,) = struct.unpack_from("<H", self.memory, self.used + 2)
        return int(index)

    def take(self) -> tuple[int, int] | None:
        """The next chain that was given back: its head, and how many bytes were written to it."""
        if self.taken == self.used_index():
            return None
        head, length = struct.unpack_from("<II", self.memory, self.used + 4 + 8 * (self.taken % self.size))
        self.taken = (self.taken + 1) % 65536
        # Interrupt for the next one too, where event indices are used.
        struct.pack_into("<H", self.memory, self.avail + 4 + 2 * self.size, self.taken)
        return int(head), int(length)


class Front:
    """The connection to the switch, and the messages; the rings do not run yet."""

    def __init__(self, path: Path, *, ring_size: int = 256, memory_size: int = 32 << 20, sealed: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.memfd = os.memfd_create("guest", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.memfd, memory_size)
        if sealed:
            fcntl.fcntl(self.memfd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.memory = mmap.mmap(self.memfd, memory_size)
        self.memory_size = memory_size
        self.rx = Ring(self.memory, 0, ring_size)
        self.tx = Ring(self.memory, 65536, ring_size)
        self.kicks = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
        self.calls = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]

    def message(self, request: int, payload: bytes = b"", *descriptors: int, flags: int = 1) -> None:
        data = struct.pack("=III", request, flags, len(payload)) + payload
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.socket.sendmsg([data], rights)

    def reply(self, request: int) -> bytes:
        """The payload of the answer to a request. ConnectionError when the switch has closed the link."""
        got, flags, size = struct.unpack("=III", self._read(12))
        assert (got, flags) == (request, 5)
        return self._read(size)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            if not piece:
                raise ConnectionError("the switch has closed the link")
            data += piece
        return data

    def ask(self, request: int, payload: bytes = b"") -> bytes:
        self.message(request, payload)
        return self.reply(request)

    def is_closed(self) -> bool:
        """The switch closes the link, after whatever it has answered."""
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionResetError:
            pass
        return True

    def realize(self) -> int:
        """What QEMU says when it makes the device; the CID that it is told."""
        (offered,) = struct.unpack("=Q", self.ask(1))
        assert offered == FEATURES
        (protocol,) = struct.unpack("=Q", self.ask(15))
        assert protocol == 0x208
        self.message(16, struct.pack("=Q", protocol))
        self.message(3)
        self.ask(1)
        for ring in range(2):
            self.message(13, struct.pack("=Q", ring), self.calls[ring])
            self.message(14, struct.pack("=Q", ring), self.calls[ring])
        answer = self.ask(24, struct.pack("=III8x", 0, 8, 0))
        assert struct.unpack_from("=III", answer) == (0, 8, 0)
        (cid,) = struct.unpack_from("<Q", answer, 12)
        return int(cid)

    def set_memory(self) -> None:
        table = struct.pack("=IIQQQQ", 1, 0, GUEST_ADDRESS, self.memory_size, USER_ADDRESS, 0)
        self.message(5, table, self.memfd, flags=9)
        assert self.reply(5) == bytes(8)

    def set_rings(self, features: int = FEATURES) -> None:
        """What QEMU says at DRIVER_OK, but for enabling the rings."""
        self.message(2, struct.pack("=Q", features))
        self.set_memory()
        for number, ring in enumerate((self.rx, self.tx)):
            self.message(8, struct.pack("=II", number, ring.size))
            self.message(10, struct.pack("=II", number, ring.used_index()))
            places = (USER_ADDRESS + place for place in (ring.desc, ring.used, ring.avail))
            self.message(9, struct.pack("=IIQQQQ", number, 0, *places, 0))
            self.message(12, struct.pack("=Q", number), self.kicks[number])

    def enable(self, on: bool = True) -> None:
        for number in range(2):
            self.message(18, struct.pack("=II", number, int(on)))

    def stop(self) -> tuple[int, int]:
        """What QEMU says when the guest resets the device, or pauses; where the rings were."""
        self.enable(False)
        bases = [struct.unpack("=II", self.ask(11, struct.pack("=II", number, 0))) for number in range(2)]
        assert [base[0] for base in bases] == [0, 1]
        return bases[0][1], bases[1][1]

    def kick(self, ring: int) -> None:
        os.eventfd_write(self.kicks[ring], 1)

    def close(self) -> None:
        self.socket.close()
        for descriptor in (self.memfd, *self.kicks, *self.calls):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.memory.close()


class Guest(Front):
    """A guest's driver with `buffers` receive buffers, each given back to the ring once it is read."""

    TX = 1 << 20
    """Where its transmit slots begin in its memory, one of `SLOT` bytes for each entry of the ring."""
    SLOT = 44 + 65536 + 4

    def __init__(
        self, path: Path, cid: int, *, buffers: int = 64, buffer_size: int = RX_BUFFER, **options: int
    ) -> None:
        super().__init__(path, **options)  # type: ignore[arg-type]
        self.cid, self.buffers, self.buffer_size = cid, buffers, buffer_size
        self.refills = True
        assert self.realize() == cid
        self.offer(buffers)

    def start(self, features: int = FEATURES) -> Self:
        self.set_rings(features)
        self.enable()
        return self

    def buffer(self, entry: int) -> int:
        """Where an entry's receive buffer is in its memory; they end where the transmit slots begin."""
        return 131072 + entry * self.buffer_size

    def offer(self, count: int) -> None:
        """Offer receive buffers, the first ones of the table."""
        for entry in range(count):
            self.rx.describe(entry, GUEST_ADDRESS + self.buffer(entry), self.buffer_size, 2)
            self.rx.add(entry)

    def put(self, header: Header, payload: bytes = b"", pieces: int = 1) -> None:
        """Queue a packet without ringing, in a chain of `pieces` descriptors."""
        chains = self.tx.size // pieces
        while self.tx.take() is not None:
            pass
        if (self.tx.added - self.tx.taken) % 65536 >= chains:
            assert wait_until(lambda: self.tx.take() is not None), "the switch does not read the ring"
        data = header.pack() + payload
        slot = self.tx.added % chains * pieces
        place = self.TX + slot * self.SLOT
        self.memory[place : place + len(data)] = data
        step = -(-len(data) // pieces)
        for piece in range(pieces):
            at = piece * step
            last = piece == pieces - 1
            length = len(data) - at if last else step
            self.tx.describe(slot + piece, GUEST_ADDRESS + place + at, length, 0 if last else 1, slot + piece + 1)
        self.tx.add(slot)

    def send(self, header: Header, payload: bytes = b"", pieces: int = 1) -> None:
        self.put(header, payload, pieces)
        self.kick(1)

    def sent(self) -> bool:
        """The switch has taken all that was sent."""
        return self.tx.used_index() == self.tx.added

    def poll(self) -> Packet | None:
        """The next packet that has come, or None; gives the buffer back."""
        used = self.rx.take()
        if used is None:
            return None
        entry, length = used
        data = self.memory[self.buffer(entry) : self.buffer(entry) + length]
        header = Header(*HEADER.unpack_from(data))
        assert header.length == length - 44
        if self.refills:
            self.rx.add(entry)
            self.kick(0)
        return Packet(header, bytes(data[44:]))

    def receive(self, timeout: float = PATIENCE) -> Packet:
        """The next packet; TimeoutError when none comes."""
        end = time.monotonic() + timeout
        while (packet := self.poll()) is None:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("no packet comes")
            if select.select([self.calls[0]], [], [], min(left, 0.2))[0]:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self.calls[0])
        return packet

    def is_silent(self, seconds: float = 0.3) -> bool:
        """Nothing comes for so long."""
        try:
            packet = self.receive(seconds)
        except TimeoutError:
            return True
        raise AssertionError(packet)


@contextlib.contextmanager
def guests(*opened: Guest) -> Iterator[tuple[Guest, ...]]:
    """Closes them at the end."""
    try:
        yield opened
    finally:
        for guest in opened:
            with contextlib.suppress(OSError, ValueError):
                guest.close()


class Stream:
    """One end of a connection, with the credit of a Linux socket with a receive buffer of `window` bytes."""

    def __init__(self, guest: Guest, port: int, peer: int, peer_port: int, window: int = 262144) -> None:
        self.guest, self.port, self.peer, self.peer_port, self.window = guest, port, peer, peer_port, window
        self.sent = self.taken = self.announced = 0
        self.peer_window = self.peer_taken = 0
        self.data = bytearray()
        self.ended = False
        self.packets = 0

    def header(self, operation: int, length: int = 0, flags: int = 0) -> Header:
        self.announced = self.taken
        ends = (self.guest.cid, self.peer, self.port, self.peer_port)
        return Header(*ends, length, STREAM, operation, flags, self.window, self.taken & 0xFFFFFFFF)

    def put(self, operation: int, payload: bytes = b"", flags: int = 0, pieces: int = 1) -> None:
        self.guest.put(self.header(operation, len(payload), flags), payload, pieces)
        self.sent += len(payload)

    def send(self, operation: int, payload: bytes = b"", flags: int = 0, pieces: int = 1) -> None:
        self.put(operation, payload, flags, pieces)
        self.guest.kick(1)

    def credit(self) -> int:
        """Linux since 6.1.162: never more in flight than the own buffer."""
        return min(self.peer_window, self.window) - (self.sent - self.peer_taken)

    def accept(self, packet: Packet) -> None:
        """What the kernel does with a packet of this connection; the application reads at once."""
        header = packet.header
        ends = (self.peer, self.guest.cid, self.peer_port, self.port)
        assert header[:4] == ends, (header, ends)
        self.packets += 1
        if header.operation == RST:
            self.ended = True
            return
        self.peer_window = header.buf_alloc
        self.peer_taken = self.sent - ((self.sent - header.fwd_cnt) & 0xFFFFFFFF)
        self.data += packet.payload
        self.taken += len(packet.payload)
        used = packet.payload and self.taken - self.announced > self.window - 65536
        if header.operation == CREDIT_REQUEST or used:
            self.send(CREDIT_UPDATE)

    def step(self, timeout: float = PATIENCE) -> None:
        self.accept(self.guest.receive(timeout))


def connected(
    client: Guest, server: Guest, port: int = 3240, own_port: int = 1024, window: int = 262144
) -> tuple[Stream, Stream]:
    """A connection that the client has opened; both ends."""
    here = Stream(client, own_port, server.cid, port, window)
    there = Stream(server, port, client.cid, own_port, window)
    here.send(REQUEST)
    there.step()
    there.send(RESPONSE)
    here.step()
    return here, there
