# SPDX-License-Identifier: BSD-2-Clause
"""What the devices of `bench.usbredir.devices` have beyond `VirtualDevice`: isochronous packets, and time."""

from __future__ import annotations

from collections.abc import Callable

from bench.usbredir.protocol import Status
from router.usbip.runtime.event_loop import Timer
from router.usbip.virtual.device import VirtualDevice


class MadeDevice(VirtualDevice):
    """A virtual device on the emulated controller of a QEMU."""

    stood_still = 0
    """How often a stream had to pause because this computer was too busy to make its packets in time."""

    def __init__(self, body: bytes, product: str, serial: str = "1") -> None:
        super().__init__(body, product, serial)
        self.become: Callable[[VirtualDevice | None], None] = lambda device: None
        """Leaves the bus, and another device, if any, comes in its place. `Plug` sets it."""
        self._timers: list[Timer] = []

    # What a kind overrides

    def stream_began(self, address: int) -> None:
        """The host begins an isochronous stream; packets are numbered from 0 again."""

    def iso_in(self, address: int, number: int) -> tuple[bytes, Status]:
        """The isochronous packet with that number, and how it went."""
        return b"", Status.SUCCESS

    def iso_out(self, address: int, data: bytes) -> None:
        """An isochronous packet came."""

    # What a kind calls

    def asked(self, address: int) -> bool:
        """Whether the host waits for data of that endpoint."""
        return bool(self._waiting.get(address))

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Does something after that time, unless the device was reset or is gone by then."""
        if self.session is not None:
            self._timers = [timer for timer in self._timers if timer.call is not None]
            self._timers.append(self.session.loop.call_later(seconds, action, self.session.fail))

    def reset(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        super().reset()
