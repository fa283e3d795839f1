# SPDX-License-Identifier: BSD-2-Clause
"""The connection of a session: packets that come, and packets that wait until QEMU takes them."""

from __future__ import annotations

import socket
from collections.abc import Callable

from bench.usbredir import protocol
from bench.usbredir.protocol import Packet
from router.usbip.runtime import event_loop

CHUNK = 1 << 18


class Wire:
    """take: gets each packet; closed: called when the peer has hung up; failed: gets what `take` raises."""

    def __init__(
        self,
        loop: event_loop.Loop,
        sock: socket.socket,
        take: Callable[[Packet], None],
        closed: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._take = take
        self._closed = closed
        self._reader = protocol.Reader()
        self._out = bytearray()
        sock.setblocking(False)
        loop.watch(sock.fileno(), event_loop.IN, self._ready, failed)

    @property
    def open(self) -> bool:
        """Whether `close` was not called yet."""
        return self._sock.fileno() >= 0

    @property
    def unsent(self) -> int:
        """Bytes that QEMU has not taken."""
        return len(self._out)

    def widen(self) -> None:
        """From now on ids have 64 bits."""
        self._reader.wide = True

    def send(self, packet: Packet) -> None:
        """Send it, or keep it until QEMU takes more."""
        waited = bool(self._out)
        self._out += protocol.pack(packet, self._reader.wide)
        if not waited:
            self._flush()

    def close(self) -> None:
        """Hang up."""
        self._loop.forget(self._sock.fileno())
        self._sock.close()

    def _ready(self, events: int) -> None:
        if events & event_loop.OUT:
            self._flush()
        if events & ~event_loop.OUT:
            try:
                data = self._sock.recv(CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._closed()
                return
            for packet in self._reader.packets(data):
                self._take(packet)

    def _flush(self) -> None:
        try:
            del self._out[: self._sock.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()  # closed: `_ready` hears of it
        self._loop.watch(self._sock.fileno(), event_loop.IN | (event_loop.OUT if self._out else 0), self._ready)
