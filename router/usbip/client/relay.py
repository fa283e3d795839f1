# SPDX-License-Identifier: BSD-2-Clause
"""Stands between a server that is not trusted and the kernel's vhci, and lets through only what vhci can handle.

The kernel gets one end of a socket pair. What it submits is remembered; what the server returns must fit it in kind,
length and packets, and is forwarded only when it is whole. The classes of CVE-2016-3955 (more data than was asked for)
and CVE-2026-31607 (another number of packets than was submitted) end here, on any kernel.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import (
    DESCRIPTOR_CONFIG,
    GET_DESCRIPTOR,
    ISOCHRONOUS,
    SET_CONFIGURATION,
    SET_INTERFACE,
    Alternates,
    parse_alternates,
)
from router.usbip.protocol.handshake import WireError
from router.usbip.runtime import event_loop
from router.usbip.runtime.log import log
from router.usbip.runtime.text import error_text

# Beyond this much on its way to one side nothing more is read from the other.
MAX_WAITING = 4 << 20
# A configuration descriptor that the kernel has read, per bConfigurationValue; Linux takes 8 configurations at most.
MAX_CONFIGS = 8
_PACKETS_AT = 32
_RETURN = struct.Struct(">5I 5i8x")
_PACKETS = struct.Struct(">i")
_SETUP = struct.Struct("<BBHHH")
_MIN_STATUS = -4095


class _Side:
    """One of the two connections."""

    __slots__ = ("incoming", "outgoing", "ready", "sock")

    def __init__(self, sock: socket.socket, ready: Callable[[_Side, int], None]) -> None:
        self.sock = sock
        self.ready = lambda happened: ready(self, happened)
        self.incoming = bytearray()
        self.outgoing = bytearray()


class Relay:
    """Carries PDUs both ways until either side ends or the server lies; then `ended` is called, once."""

    def __init__(
        self, loop: event_loop.Loop, server: socket.socket, kernel: socket.socket, ended: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._server = _Side(server, self._ready)
        self._kernel = _Side(kernel, self._ready)
        self._ended = ended
        self._open = True
        self._pending: dict[int, urb.Submit] = {}
        self._unlinks: dict[int, int] = {}
        self._configs: dict[int, bytes] = {}
        self._alternates: Alternates = {}
        self._chosen: dict[int, int] = {}
        for side in (self._server, self._kernel):
            side.sock.setblocking(False)
        self._update()

    def close(self) -> None:
        """Ends both connections."""
        if not self._open:
            return
        self._open = False
        for side in (self._server, self._kernel):
            self._loop.forget(side.sock.fileno())
            side.sock.close()
        self._ended()

    def _update(self) -> None:
        if not self._open:
            return
        for side, other in ((self._server, self._kernel), (self._kernel, self._server)):
            wanted = event_loop.IN if len(other.outgoing) < MAX_WAITING else 0
            wanted |= event_loop.OUT if side.outgoing else 0
            self._loop.watch(side.sock.fileno(), wanted, side.ready, self._fail)

    def _ready(self, side: _Side, happened: int) -> None:
        if not self._open:
            return
        try:
            if happened & event_loop.OUT:
                self._flush(side)
            if happened & (event_loop.IN | event_loop.HUP | event_loop.ERR):
                size = side.sock.recv_into(self._loop.scratch)
                if not size:
                    raise EOFError
                side.incoming += self._loop.scratch[:size]
                if side is self._kernel:
                    self._from_kernel()
                else:
                    self._from_server()
                self._flush(self._kernel)
                self._flush(self._server)
        except BlockingIOError:
            pass
        self._update()

    def _fail(self, error: Exception) -> None:
        """Ends both connections over an exception, whatever it is. An ordinary end has no log line."""
        if self._open and not isinstance(error, (OSError, EOFError)):
            log(f"the connection to the server is cut: {error_text(error)}")
        self.close()

    def _flush(self, side: _Side) -> None:
        while side.outgoing:
            try:
                sent = side.sock.send(side.outgoing)
            except BlockingIOError:
                return
            del side.outgoing[:sent]

    # From the kernel: believed, but remembered

    def _from_kernel(self) -> None:
        data = self._kernel.incoming
        at = 0
        while len(data) - at >= urb.HEADER_SIZE:
            if urb.command_of(data, at) == urb.CMD_SUBMIT:
                self._check_framing(data, at)
                submit, end = urb.parse_submit(data, at, self._is_isochronous)
                if submit is None:
                    break
                # What went OUT need not be kept to judge the answer.
                submit.data = b""
                self._pending[submit.seqnum] = submit
            else:
                end = at + urb.HEADER_SIZE
                unlink = urb.unpack_unlink(data[at:end])
                self._unlinks[unlink.seqnum] = unlink.target
            self._server.outgoing += data[at:end]
            at = end
        del data[:at]

    def _check_framing(self, data: bytearray, at: int) -> None:
        """WireError unless the kernel and the descriptors agree whether a submission is isochronous.

        The kernel says how many packets follow; it sends none with other transfers. Where descriptors of a hostile
        server are read otherwise than by this kernel's version, the stream would be framed wrongly from here on.
        """
        (packets,) = _PACKETS.unpack_from(data, at + _PACKETS_AT)
        if (packets > 0) != self._is_isochronous(urb.address_of(data, at)):
            raise WireError("kernel and descriptors disagree about which endpoint is isochronous")

    def _is_isochronous(self, address: int) -> bool:
        """By the descriptors that the kernel itself has read, so both frame the stream alike."""
        for (interface, alternate), endpoints in self._alternates.items():
            if self._chosen.get(interface, 0) == alternate and address in endpoints:
                return endpoints[address] == ISOCHRONOUS
        return False

    # From the server: judged

    def _from_server(self) -> None:
        data = self._server.incoming
        at = 0
        while len(data) - at >= urb.HEADER_SIZE:
            command = urb.command_of(data, at)
            header = data[at : at + urb.HEADER_SIZE]
            if command == urb.RET_UNLINK:
                self._unlinked(header)
                at += urb.HEADER_SIZE
            elif command == urb.RET_SUBMIT:
                end = self._returned(header, data, at)
                if end is None:
                    break
                at = end
            else:
                raise WireError(f"command {command:#x} from a server")
        del data[:at]

    def _unlinked(self, header: bytearray) -> None:
        seqnum, status = urb.unpack_unlinked(header)
        target = self._unlinks.pop(seqnum, None)
        if target is None:
            raise WireError(f"the server answers an unlink {seqnum} that was not asked for")
        if not _MIN_STATUS <= status <= 0:
            raise WireError(f"status {status}")
        if status:
            self._pending.pop(target, None)
        self._kernel.outgoing += urb.pack_unlinked(seqnum, status)

    def _returned(self, header: bytearray, data: bytearray, at: int) -> int | None:
        """Where the PDU ends, None while it is not whole."""
        seqnum = urb.return_seqnum(header)
        submit = self._pending.get(seqnum)
        if submit is None:
            raise WireError(f"the server returns a transfer {seqnum} that was not submitted")
        size, packets = urb.return_sizes(header, submit)
        begin = at + urb.HEADER_SIZE
        end = begin + size + packets * urb.ISO_SIZE
        if len(data) < end:
            return None
        iso = bytes(data[begin + size : end]) if submit.iso is not None else None
        answer = urb.unpack_return(header, submit, b"", iso)
        if not _MIN_STATUS <= answer.status <= 0:
            raise WireError(f"status {answer.status}")
        del self._pending[seqnum]
        if not submit.endpoint and not answer.status:
            self._learn(submit, data[begin : begin + size])
        # The number of packets is what was submitted, whatever an old or hostile server put there.
        count = len(submit.iso) if submit.iso is not None else 0
        errors = answer.errors if submit.iso is not None else 0
        self._kernel.outgoing += urb.pack_return(seqnum, answer.status, answer.actual, answer.start, count, errors)
        self._kernel.outgoing += data[begin:end]
        return end

    def _learn(self, submit: urb.Submit, data: bytearray) -> None:
        """What the kernel knows after a control transfer: configurations, and which settings are chosen."""
        kind, request, value, index, _ = _SETUP.unpack(submit.setup)
        if (kind, request) == (0x00, SET_CONFIGURATION):
            self._alternates = parse_alternates(self._configs.get(value, b""), value)
            self._chosen.clear()
        elif (kind, request) == (0x01, SET_INTERFACE):
            self._chosen[index & 0xFF] = value
        elif (kind, request, value >> 8) == (0x80, GET_DESCRIPTOR, DESCRIPTOR_CONFIG) and len(data) >= 9:
            total = int.from_bytes(data[2:4], "little")
            if len(data) >= total and (data[5] in self._configs or len(self._configs) < MAX_CONFIGS):
                self._configs[data[5]] = bytes(data)
