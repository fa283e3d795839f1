# SPDX-License-Identifier: BSD-2-Clause
"""Isochronous streams to the host: the device's own clock makes the packets, and nothing else paces them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.usbredir.made import MadeDevice
from bench.usbredir.protocol import Data, Endpoint, Kind, Packet
from bench.usbredir.wire import Wire
from router.usbip.protocol import device as usb
from router.usbip.runtime import event_loop

TICK_S = 0.004
"""How often packets that are due are sent. QEMU gathers 60 ms of them before the guest gets the first."""
MAX_LATE_S = 0.030
"""A stream that this computer makes later than that stands still meanwhile. A burst would overflow QEMU's buffer."""
MAX_UNSENT = 1 << 20
"""Bytes that QEMU has not taken, at which streams stand still too."""


@dataclass
class Stream:
    """Packet number n is due at began + n / rate (packets a second)."""

    endpoint: Endpoint
    rate: float
    began: float
    sent: int = 0


class Streams:
    """The streams of one device. failed: gets what the device raises."""

    def __init__(self, loop: event_loop.Loop, wire: Wire, failed: Callable[[Exception], None]) -> None:
        self._loop = loop
        self._wire = wire
        self._failed = failed
        self._streams: dict[int, Stream] = {}
        self._device: MadeDevice | None = None
        self._ticking: event_loop.Timer | None = None

    def start(self, device: MadeDevice, endpoint: Endpoint) -> None:
        """Begin with packet 0."""
        self._device = device
        frames = 8000 if device.speed >= usb.SPEED_HIGH else 1000
        self._streams[endpoint.address] = Stream(endpoint, frames / endpoint.interval, time.monotonic())
        if self._ticking is None:
            self._tick()

    def stop(self, address: int) -> None:
        """End the stream of that endpoint, if there is one."""
        self._streams.pop(address, None)

    def stop_interface(self, interface: int) -> None:
        """End the streams of an interface's endpoints."""
        for address, stream in tuple(self._streams.items()):
            if stream.endpoint.interface == interface:
                del self._streams[address]

    def clear(self) -> None:
        """End all streams."""
        self._streams.clear()

    def _tick(self) -> None:
        self._ticking = None
        if not self._streams or self._device is None:
            return
        for stream in self._streams.values():
            self._send_due(stream, self._device)
        self._ticking = self._loop.call_later(TICK_S, self._tick, self._failed)

    def _send_due(self, stream: Stream, device: MadeDevice) -> None:
        now = time.monotonic()
        late = now - stream.began - stream.sent / stream.rate
        if self._wire.unsent > MAX_UNSENT:
            stream.began += late
            device.stood_still += 1
        elif late > MAX_LATE_S:
            stream.began += late - MAX_LATE_S
            device.stood_still += 1
        address = stream.endpoint.address
        while stream.sent < int((now - stream.began) * stream.rate):
            data, status = device.iso_in(address, stream.sent)
            self._wire.send(Packet(Kind.ISO_PACKET, stream.sent, Data(address, data, status).pack()))
            stream.sent += 1
