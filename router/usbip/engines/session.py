# SPDX-License-Identifier: BSD-2-Clause
"""A user-space session: reads a client's PDUs, gives the transfers to a device, and writes back what became of them.

The rules of unlinking are kept here (Documentation/usb/usbip_protocol.rst), whatever the device behind does.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable

from router.usbip.protocol import urb
from router.usbip.protocol.handshake import WireError
from router.usbip.runtime import event_loop
from router.usbip.runtime.log import log
from router.usbip.runtime.text import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer, Tap, Target

# Transfers beyond this many bytes wait here until others have ended; unlinks still overtake them.
MAX_IN_FLIGHT = 14 << 20
# Beyond these nothing more is read from the client: data of transfers that wait, answers that it does not read.
MAX_DEFERRED = 8 << 20
MAX_WAITING_OUT = 8 << 20
# While it is full a little is read all the same, up to this much: a client whose peer keeps its window shut for
# USER_TIMEOUT_MS (router.usbip.runtime.net) ends the connection, and the device may only be slow.
OVERREAD_INTERVAL_S = 4.0
# The kernel opens the window once a sixteenth of its buffer is free (net/ipv4/tcp_output.c, __tcp_select_window).
OVERREAD_STEPS = 4
MAX_OVERREAD = 8 << 20
# Submissions that are not answered yet, and unlinks that wait for them.
MAX_URBS = 4096
_IOV = 64
_DIRECT = 16384
_SEND_BUFFER = 4 << 20
# Linux, asm-generic/socket.h
_SO_SNDBUFFORCE = 32
# Up to this size copying data behind its header costs less than sending two parts.
_COPY = 8192


def _enlarge(sock: socket.socket) -> None:
    """Makes room for a large answer at once; without the privilege, as much as the machine allows."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)


def _held_by(submit: urb.Submit) -> int:
    """Bytes that a transfer holds while it waits to begin."""
    return len(submit.data) + urb.ISO_COST * len(submit.iso or ())


class UserSession:
    """One device in a client's hands. `ended` is called once, after connection and target have ended."""

    def __init__(
        self,
        loop: event_loop.Loop,
        sock: socket.socket,
        target: Target,
        ended: Callable[[], None],
        tap: Tap | None = None,
    ) -> None:
        self.loop = loop
        self.pending: dict[int, urb.Submit] = {}
        self.tap = tap
        self._socket: socket.socket | None = sock
        self._target = target
        self._ended = ended
        self._unlinks: dict[int, list[urb.Unlink]] = {}
        self._unlinks_waiting = 0
        self._in = bytearray()
        self._scratch = loop.scratch
        # A transfer whose data is being read, and the room for the rest of it.
        self._incoming: urb.Submit | None = None
        self._room = memoryview(b"")
        self._out: deque[Buffer] = deque()
        self._waiting_out = 0
        self._in_flight = 0
        self._deferred: dict[int, urb.Submit] = {}
        self._deferred_bytes = 0
        self._reading = False
        # More was read than there was room for.
        self._blocked = False
        self._events = -1
        self._overread: event_loop.Timer | None = None
        sock.setblocking(False)
        _enlarge(sock)
        self._update()

    # The connection

    def close(self) -> None:
        """Ends the session and its connection."""
        sock, self._socket = self._socket, None
        if sock is None:
            return
        self.loop.forget(sock.fileno())
        sock.close()
        if self._overread:
            self._overread.cancel()
        try:
            self._target.stop(self)
        except Exception as error:
            # The device's code must not keep the server from getting its device back.
            log(f"a device at the end of its session: {error_text(error)}")
        self.pending.clear()
        self._unlinks.clear()
        self._deferred.clear()
        self._out.clear()
        self._ended()

    def fail(self, error: Exception) -> None:
        """Ends the session over an exception, whatever it is: other sessions go on. An ordinary end has no log line."""
        if self._socket is not None and not isinstance(error, (ConnectionError, TimeoutError, EOFError)):
            log(f"a client's connection ends: {error_text(error)}")
        self.close()

    def leave(self) -> None:
        """The daemon ends: unlike the kernel's, this session ends with it."""
        self.close()

    @property
    def open(self) -> bool:
        return self._socket is not None

    def _full(self) -> bool:
        return (
            self._deferred_bytes >= MAX_DEFERRED
            or self._waiting_out >= MAX_WAITING_OUT
            or len(self.pending) + self._unlinks_waiting >= MAX_URBS
        )

    def _update(self) -> None:
        if self._socket is None:
            return
        wanted = (0 if self._full() else event_loop.IN) | (event_loop.OUT if self._out else 0) | event_loop.RDHUP
        if wanted != self._events:
            self._events = wanted
            self.loop.watch(self._socket.fileno(), wanted, self._ready, self.fail)
        if self._full() and not self._overread:
            self._overread = self.loop.call_later(OVERREAD_INTERVAL_S, self._read_although_full)

    def _read_although_full(self) -> None:
        self._overread = None
        try:
            for _ in range(OVERREAD_STEPS):
                if self._full() and len(self._in) < MAX_OVERREAD:
                    self._read()
            self._update()
        except Exception as error:
            self.fail(error)

    def _ready(self, happened: int) -> None:
        """What this raises goes to `fail`, and ends the session."""
        if self._socket is None:
            return
        if happened & event_loop.OUT:
            self._flush()
        if happened & event_loop.IN and not self._full():
            self._read()
        elif happened & (event_loop.HUP | event_loop.ERR | event_loop.RDHUP):
            self.close()

    def _read(self) -> None:
        if self._socket is None:
            return
        incoming = self._incoming
        try:
            size = self._socket.recv_into(self._scratch if incoming is None else self._room)
        except BlockingIOError:
            return
        if not size:
            raise EOFError
        if incoming is not None:
            self._room = self._room[size:]
            if len(self._room):
                return
            self._incoming = None
            self._reading = True
            self._submit(incoming)
            self._reading = False
        elif self._in:
            self._in += self._scratch[:size]
            self._parse_rest()
        else:
            # Nearly always whole PDUs come, which need not be copied to be read.
            data = self._scratch[:size]
            at = self._parse(data, size)
            if at < size:
                self._in += data[at:]
        if self._out or self._blocked:
            self._flush()
        # A device that answers at once is not worth another turn of the loop.
        self._target.settle()

    def _parse_rest(self) -> None:
        """Goes on with what was read before and not understood, or held back, then."""
        at = self._parse(self._in, len(self._in))
        if at:
            del self._in[:at]

    def _parse(self, data: bytearray | memoryview, have: int) -> int:
        """Takes whole PDUs off the data for as long as there is room for more in flight; how many bytes it took."""
        at = 0
        is_isochronous = self._target.is_isochronous
        self._reading = True
        self._blocked = False
        while have - at >= urb.HEADER_SIZE and self._socket:
            if self._full():
                self._blocked = True
                break
            command = urb.command_of(data, at)
            if command == urb.CMD_SUBMIT:
                submit, end = urb.parse_submit(data, at, is_isochronous)
                if submit is None:
                    if end - have > _DIRECT and not is_isochronous(urb.address_of(data, at)):
                        self._receive_directly(data[at:have])
                        at = have
                    break
                at = end
                self._submit(submit)
            elif command == urb.CMD_UNLINK:
                self._unlink(urb.unpack_unlink(data[at : at + urb.HEADER_SIZE]))
                at += urb.HEADER_SIZE
            else:
                raise WireError(f"command {command:#x} is unknown")
        self._reading = False
        return at

    def _receive_directly(self, begun: bytearray | memoryview) -> None:
        """Much is still to come of a transfer: the rest is read to where it is needed, not through the input."""
        submit = urb.unpack_submit(begun[: urb.HEADER_SIZE])
        here = len(begun) - urb.HEADER_SIZE
        submit.data = self._target.buffer(submit.length)
        self._room = memoryview(submit.data).cast("B")
        self._room[:here] = begun[urb.HEADER_SIZE :]
        self._room = self._room[here:]
        self._incoming = submit

    # Transfers

    def _submit(self, submit: urb.Submit) -> None:
        if submit.seqnum in self.pending:
            raise WireError(f"sequence number {submit.seqnum} is in use")
        self.pending[submit.seqnum] = submit
        if self.tap:
            self.tap.submitted(submit, self._target.kind_of(submit.address))
        if self._deferred or (self._in_flight and self._in_flight + submit.cost > MAX_IN_FLIGHT):
            self._deferred[submit.seqnum] = submit
            self._deferred_bytes += _held_by(submit)
            return
        self._in_flight += submit.cost
        self._target.submit(submit, self)

    def _start_deferred(self) -> None:
        while self._deferred and self._socket:
            submit = next(iter(self._deferred.values()))
            if self._in_flight and self._in_flight + submit.cost > MAX_IN_FLIGHT:
                return
            self._undefer(submit)
            self._in_flight += submit.cost
            self._target.submit(submit, self)

    def _undefer(self, submit: urb.Submit) -> None:
        del self._deferred[submit.seqnum]
        self._deferred_bytes -= _held_by(submit)

    def _unlink(self, unlink: urb.Unlink) -> None:
        if self.tap:
            self.tap.unlinked(unlink)
        submit = self.pending.get(unlink.target)
        if submit is None:
            # Its RET_SUBMIT is on its way already.
            self._answer_unlink(unlink, None, urb.EOK)
            return
        waiting = self._unlinks.setdefault(unlink.target, [])
        waiting.append(unlink)
        self._unlinks_waiting += 1
        if submit.seqnum in self._deferred:
            self._undefer(submit)
            self._in_flight += submit.cost
            self.complete(submit, urb.ECONNRESET)
        elif len(waiting) == 1:
            self._target.cancel(submit, self)

    def _answer_unlink(self, unlink: urb.Unlink, submit: urb.Submit | None, status: int) -> None:
        if self.tap:
            self.tap.cancelled(unlink, submit, self._target.kind_of(submit.address) if submit else 0, status)
        self._write(urb.pack_unlinked(unlink.seqnum, status))

    def complete(
        self,
        submit: urb.Submit,
        status: int,
        data: Buffer = b"",
        actual: int | None = None,
        iso: list[urb.IsoPacket] | None = None,
        start: int = 0,
        errors: int = 0,
    ) -> bool:
        """A transfer's end. data: what came IN (of an isochronous one, packed); actual: bytes that went OUT.

        Status ECONNRESET is for a transfer that `cancel` ended; the client then gets RET_UNLINK and nothing else.
        Returns whether `data` is of no more use here: all of it was sent.
        """
        if self.pending.get(submit.seqnum) is not submit:
            return True
        del self.pending[submit.seqnum]
        self._in_flight -= submit.cost
        done = len(data) if actual is None else actual
        if not (self._unlinks or self._out or self._reading or iso or self.tap or self._deferred or self._blocked):
            # The path of nearly every transfer.
            return self._send_now(urb.pack_return(submit.seqnum, status, done, start, 0, errors), data)
        unlinks = self._unlinks.pop(submit.seqnum, [])
        self._unlinks_waiting -= len(unlinks)
        if not (unlinks and status == urb.ECONNRESET):
            if self.tap:
                self.tap.returned(submit, self._target.kind_of(submit.address), status, done, data, iso)
            packets = len(iso) if iso else 0
            self._write(urb.pack_return(submit.seqnum, status, done, start, packets, errors))
            if len(data):
                self._write(data)
            if iso:
                self._write(urb.pack_iso_results(iso))
        for number, unlink in enumerate(unlinks):
            first = number == 0 and status == urb.ECONNRESET
            self._answer_unlink(unlink, submit, urb.ECONNRESET if first else urb.EOK)
        self._start_deferred()
        if not self._reading:
            self.flush_soon()
        return False

    # Output

    def _send_now(self, header: bytes, data: Buffer) -> bool:
        """Sends a PDU when nothing waits before it; what the connection does not take waits, and makes it False."""
        if self._socket is None:
            return True
        size = len(data)
        try:
            if size > _COPY:
                sent = self._socket.sendmsg((header, data))
            else:
                header = b"".join((header, data))
                data = b""
                sent = self._socket.send(header)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail_soon(error)
            return True
        if sent == urb.HEADER_SIZE + size:
            return True
        if sent < len(header):
            self._write(memoryview(header)[sent:])
            sent = len(header)
        if len(data):
            self._write(memoryview(data)[sent - len(header) :])
        self._update()
        return False

    def _write(self, data: Buffer) -> None:
        self._out.append(data)
        self._waiting_out += len(data)

    def flush_soon(self) -> None:
        """Sends what waits, from wherever a transfer was completed."""
        try:
            self._flush()
        except Exception as error:
            self._fail_soon(error)

    def _fail_soon(self, error: Exception) -> None:
        # Closing at once would pull the session from under its caller.
        self.loop.call_soon(lambda: self.fail(error))

    def _flush(self) -> None:
        if self._socket is None:
            return
        self._send()
        if self._blocked and not self._reading and not self._full():
            # Room has come for what was read before.
            self._parse_rest()
            self._send()
        self._update()

    def _send(self) -> None:
        while self._out and self._socket:
            parts = [self._out[n] for n in range(min(_IOV, len(self._out)))]
            try:
                sent = self._socket.sendmsg(parts)
            except BlockingIOError:
                break
            self._waiting_out -= sent
            while sent:
                head = self._out[0]
                if sent < len(head):
                    self._out[0] = memoryview(head)[sent:]
                    break
                sent -= len(head)
                self._out.popleft()
