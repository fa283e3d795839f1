# SPDX-License-Identifier: BSD-2-Clause
"""One read transfer: blocks out, acknowledgements in, over a connected socket of its own.

What makes it quick in plain Python: DATA packets, headers included, are laid out in memory ahead of time, so that a
block costs one slice, one `send` and one `recv`; the receive time-out lives in the socket (SO_RCVTIMEO), which saves
the poll before each receive that Python's own time-outs cost; and a window leaves in one system call where the kernel
can segment UDP (UDP_SEGMENT, Linux 4.18).

What makes it robust: the retransmission time-out follows the measured round trip (RFC 6298) instead of the client's
five seconds; a partial acknowledgement of a window is answered at once from the gap (RFC 7440, 3); a duplicate
acknowledgement in lock-step is never answered (RFC 1123, 4.2.3.1: the sorcerer's apprentice).
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from router.deploy.tftp import wire

SOL_UDP = 17
UDP_SEGMENT = 103  # linux/udp.h
GSO_BYTES = 60_000  # an IPv4 datagram before segmentation stays below 64 KiB
GSO_SEGMENTS = 60  # the kernel's UDP_MAX_SEGMENTS was 64
MTU_PAYLOAD = 1472  # an Ethernet frame's: larger segments would have to be fragmented, which UDP_SEGMENT refuses
CHUNK_BYTES = 256 << 10  # how much of a file is laid out as packets at a time: what fits a CPU's cache

MEASURED_EVERY = 32  # blocks

FIRST_RTO = 0.2  # seconds, before the first round trip is known
MIN_RTO, MAX_RTO = 0.02, 1.0
CLIENT_TIMEOUT_S = 30.0  # seconds of silence from the client; more when its own time-out is long


class TransferError(Exception):
    """The transfer ended early; the message says why."""


@dataclass(slots=True)
class Tally:
    """What a transfer did. bytes_sent counts acknowledged payload bytes; seconds is from the first packet on."""

    size: int
    bytes_sent: int = 0
    resent: int = 0
    seconds: float = 0.0


class Packets:
    """The DATA packets of a file, `blksize` bytes each, laid out in memory a few hundred kilobytes at a time."""

    def __init__(self, data: memoryview, blksize: int) -> None:
        self.data = data
        self.blksize = blksize
        self.count = len(data) // blksize + 1  # the last packet is short, or empty
        self.stride = blksize + 4
        self._per_chunk = max(1, CHUNK_BYTES // blksize)
        self._first = 0  # block number of the first packet laid out; 0: none
        self._view = memoryview(b"")

    def span(self, first: int, count: int) -> memoryview:
        """Up to `count` packets from block `first` (from 1 on), back to back; fewer at the end of a chunk."""
        index = first - self._first
        if not self._first or not 0 <= index < self._per_chunk:
            self._lay_out(first)
            index = 0
        return self._view[index * self.stride : (index + count) * self.stride]

    def _lay_out(self, first: int) -> None:
        size, stride = self.blksize, self.stride
        data = self.data[(first - 1) * size : (first - 1 + self._per_chunk) * size]
        blocks = min(self._per_chunk, self.count - first + 1)
        chunk = bytearray(len(data) + 4 * blocks)
        pack = struct.Struct(">HH").pack_into
        for i in range(blocks):
            at = i * stride
            pack(chunk, at, wire.DATA, (first + i) & 0xFFFF)
            chunk[at + 4 : at + stride] = data[i * size : (i + 1) * size]
        self._view = memoryview(chunk)
        self._first = first


class Clock:
    """The retransmission time-out: RFC 6298's estimate, kept in the socket's SO_RCVTIMEO."""

    def __init__(self, sock: socket.socket, ceiling: float) -> None:
        self._sock = sock
        self._ceiling = ceiling
        self._smoothed = 0.0
        self._variance = 0.0
        self.rto = min(FIRST_RTO, ceiling)
        self._set(self.rto)

    def measured(self, seconds: float) -> None:
        """Take in one round trip that was not retransmitted (Karn's rule)."""
        if self._smoothed == 0.0:
            self._smoothed, self._variance = seconds, seconds / 2
        else:
            self._variance += (abs(self._smoothed - seconds) - self._variance) / 4
            self._smoothed += (seconds - self._smoothed) / 8
        wanted = min(max(self._smoothed + 4 * self._variance, MIN_RTO), self._ceiling)
        if not 0.8 < wanted / self.rto < 1.25:  # a system call: only when it matters
            self._set(wanted)

    @property
    def round_trip(self) -> float:
        """The smoothed round trip in seconds, 0 before the first."""
        return self._smoothed

    def progressed(self) -> None:
        """Something new was acknowledged: no need to stay backed off."""
        wanted = min(max(self._smoothed + 4 * self._variance, MIN_RTO), self._ceiling)
        if self._smoothed and self.rto > 2 * wanted:
            self._set(wanted)

    def expired(self) -> None:
        """Back off after a time-out."""
        self._set(min(self.rto * 2, self._ceiling))

    def _set(self, seconds: float) -> None:
        self.rto = seconds
        whole = int(seconds)
        value = struct.pack("@ll", whole, int((seconds - whole) * 1e6))
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)


class Transfer:
    """Sends one file over a connected, blocking UDP socket. `stopped` is asked before each wait off the quick path."""

    def __init__(
        self,
        sock: socket.socket,
        data: memoryview,
        terms: wire.Terms,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.tally = Tally(len(data))
        self._sock = sock
        self._terms = terms
        self._packets = Packets(data, terms.blksize)
        self._stopped = stopped
        self._progress = progress
        self._clock = Clock(sock, min(terms.timeout or MAX_RTO, MAX_RTO))
        self._give_up = max(CLIENT_TIMEOUT_S, 5 * (terms.timeout or 0))
        self._heard = time.monotonic()
        self._segment = 4 + terms.blksize <= MTU_PAYLOAD and terms.window > 1

    def run(self) -> Tally:
        """Send everything; TransferError when the client refuses, vanishes or speaks something else."""
        started = self._heard = time.monotonic()
        try:
            if self._terms.accepted:
                self._options()
            if self._terms.window == 1:
                self._lock_step()
            else:
                self._windows()
        finally:
            self.tally.seconds = time.monotonic() - started
        return self.tally

    def _receive(self) -> int | None:
        """The block number of the next ACK, or None when nothing came in time. Other packets are passed over.

        A client that sends without end, but acknowledges nothing new, is given up as a silent one is.
        """
        while True:
            if self._stopped():
                raise TransferError("the server was stopped")
            if time.monotonic() - self._heard > self._give_up:
                raise TransferError(f"no new block was acknowledged within {self._give_up:.0f} s")
            try:
                packet = self._sock.recv(600)
            except BlockingIOError:
                return None
            except ConnectionRefusedError:
                raise TransferError("the client has gone (its port is closed)") from None
            if len(packet) >= 4 and packet[:2] == b"\0\x04":
                return packet[2] << 8 | packet[3]
            self._refused(packet)

    def _refused(self, packet: bytes) -> None:
        """TransferError if the packet is the client's ERROR."""
        if packet[:2] == b"\0\x05":
            raise TransferError(f"the client gave up: {wire.parse_error(packet)}")

    def _send(self, packet: bytes | memoryview) -> None:
        try:
            self._sock.send(packet)
        except ConnectionRefusedError:
            raise TransferError("the client has gone (its port is closed)") from None

    def _options(self) -> None:
        packet = wire.oack(self._terms)
        while True:
            sent = time.monotonic()
            self._send(packet)
            got = self._receive()
            while got not in (0, None):
                got = self._receive()
            if got == 0:
                self._heard = time.monotonic()
                self._clock.measured(self._heard - sent)
                return
            self.tally.resent += 1
            self._clock.expired()

    def _lock_step(self) -> None:
        """One block, one ACK. The inner loop is all there is on the path of a block that arrives."""
        packets, now = self._packets, time.monotonic
        send, recv, stride = self._sock.send, self._sock.recv, self._packets.stride
        pack = struct.Struct(">HH").pack
        block = 1
        while block <= packets.count:
            batch = packets.span(block, MEASURED_EVERY)
            started, faults = now(), 0
            for at in range(0, len(batch), stride):
                packet = batch[at : at + stride]
                try:
                    send(packet)
                    got = recv(600)
                    if got[:4] != pack(wire.ACK, block & 0xFFFF):  # what follows is padding: some switches add it
                        faults += 1
                        self._refused(got)
                        self._settle(block, packet)
                except (BlockingIOError, ConnectionRefusedError):
                    faults += 1
                    self._retry(block, packet)  # which meets the same fault again, and names it
                block += 1
            self._heard = heard = now()
            if not faults:
                self._clock.measured((heard - started) / max(1, len(batch) // stride))
            self._account((block - 1) * self._terms.blksize)

    def _settle(self, block: int, packet: memoryview) -> None:
        """Something else than this block's ACK came: wait on for it, resending only when the time is up."""
        wanted, deadline = block & 0xFFFF, time.monotonic() + self._clock.rto
        while time.monotonic() < deadline:
            got = self._receive()
            if got == wanted:
                self._heard = time.monotonic()
                return
            if got is None:
                break
        self._retry(block, packet)

    def _retry(self, block: int, packet: memoryview) -> None:
        wanted, last = block & 0xFFFF, block == self._packets.count
        tries = 0
        while True:
            try:
                self._send(packet)
                self.tally.resent += 1
                tries += 1
                deadline = time.monotonic() + self._clock.rto
                got = self._receive()
                while got not in (wanted, None) and time.monotonic() < deadline:
                    got = self._receive()
            except TransferError:
                if last and tries:
                    return  # the ACK of the last block is never acknowledged: the client had it and left
                raise
            if got == wanted:
                self._heard = time.monotonic()
                return
            self._clock.expired()

    def _windows(self) -> None:
        """Go-back-N over windows of `windowsize` blocks (RFC 7440).

        A partial acknowledgement means a gap, and all from the gap on is sent again. While that is under way, another
        partial one up to what had been sent before shows that the client had more than it had said (U-Boot answers any
        block out of turn, also a repeated one, with its position): then only what is new follows, for a client that is
        answered with a whole window each time would be flooded for good.
        """
        clock, window, total = self._clock, self._terms.window, self._packets.count
        base = unsent = 1  # first block that is not acknowledged; first that was not sent since the last step back
        repeating = 0  # last block sent before the last step back; 0: nothing is being repeated
        sent = stepped_back = 0.0
        silent = 0
        while base <= total:
            try:
                last = min(base + window - 1, total)
                if unsent <= last:
                    sent = time.monotonic()
                    self._burst(unsent, last)
                    unsent = last + 1
                got = self._receive()
            except TransferError:
                if silent and unsent > total:
                    break  # as in _retry: the end was most likely received
                raise
            now = time.monotonic()
            step = 0 if got is None else (got - (base - 1)) & 0xFFFF
            if got is not None and not step:
                # Repeated: a gap right at the start of the window. One step back in a round trip is enough.
                if now - stepped_back < clock.round_trip or now - sent < clock.round_trip / 2:
                    continue
            elif got is not None:
                if step > unsent - base:
                    continue  # of an earlier round
                base += step
                self._heard, silent = now, 0
                self._account((base - 1) * self._terms.blksize)
                if base == unsent:
                    if repeating:
                        clock.progressed()
                    else:
                        clock.measured(now - sent)
                    repeating = 0
                    continue
                if base - 1 <= repeating:
                    continue
            else:
                silent += 1
                clock.expired()
            repeating, stepped_back = max(repeating, unsent - 1), now
            self.tally.resent += unsent - base
            unsent = base
        self._account(self.tally.size)

    def _burst(self, first: int, last: int) -> None:
        """Send the blocks `first` to `last`, in as few system calls as the kernel allows."""
        stride = self._packets.stride
        at_once = max(1, min(GSO_SEGMENTS, GSO_BYTES // stride)) if self._segment else 1
        while first <= last:
            span = self._packets.span(first, min(at_once, last - first + 1))
            blocks = -(-len(span) // stride)
            if blocks == 1:
                self._send(span)
            else:
                try:
                    self._sock.sendmsg([span], [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", stride))])
                except ConnectionRefusedError:
                    raise TransferError("the client has gone (its port is closed)") from None
                except OSError as error:
                    if error.errno not in (
                        errno.EINVAL,
                        errno.EIO,
                        errno.EMSGSIZE,
                        errno.ENOPROTOOPT,
                        errno.EOPNOTSUPP,
                    ):
                        raise
                    self._segment, at_once = False, 1  # this kernel or this link cannot: one by one
                    continue
            first += blocks

    def _account(self, sent: int) -> None:
        self.tally.bytes_sent = min(sent, self.tally.size)
        if self._progress is not None:
            self._progress(self.tally.bytes_sent)
