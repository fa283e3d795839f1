# SPDX-License-Identifier: BSD-2-Clause
"""A source and sink for Linux's usbtest, as the kernel's gadget zero is, with isochronous and interrupt endpoints."""

from __future__ import annotations

from bench.usbredir.made import MadeDevice
from bench.usbredir.protocol import Status
from router.usbip.protocol import device as usb
from router.usbip.protocol.descriptors import BULK, INTERRUPT, ISOCHRONOUS
from router.usbip.virtual.device import Stall, endpoint, interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

BULK_SIZE, ISO_SIZE, INTERRUPT_SIZE = 512, 1024, 64
INTERVAL = 4
"""bInterval: one millisecond at high speed."""
WRITE, READ = 0x5B, 0x5C
"""usbtest's vendor requests (drivers/usb/misc/usbtest.c, ctrl_out)."""
MAX_TRANSFER = 1 << 16
PATTERN = bytes(at % BULK_SIZE % 63 for at in range(MAX_TRANSFER))
"""usbtest's pattern 1: it begins again with each packet."""


class SourceSink(MadeDevice):
    """Alternate setting 0 has bulk endpoints, 1 isochronous ones too, 2 interrupt ones."""

    vid, pid = 0x0525, 0xA4A0
    triple = (0xFF, 0, 0)
    speed = usb.SPEED_HIGH

    def __init__(self) -> None:
        self.wrong = 0
        """Bulk transfers OUT that were not of the pattern."""
        self.iso_packets = self.iso_bytes = 0
        self._kept = b""
        pair = endpoint(0x81, BULK, BULK_SIZE) + endpoint(0x01, BULK, BULK_SIZE)
        body = (
            interface(0, (0xFF, 0, 0), 2)
            + pair
            + interface(0, (0xFF, 0, 0), 4, alternate=1)
            + pair
            + endpoint(0x82, ISOCHRONOUS, ISO_SIZE, INTERVAL)
            + endpoint(0x02, ISOCHRONOUS, ISO_SIZE, INTERVAL)
            + interface(0, (0xFF, 0, 0), 2, alternate=2)
            + endpoint(0x83, INTERRUPT, INTERRUPT_SIZE, INTERVAL)
            + endpoint(0x03, INTERRUPT, INTERRUPT_SIZE, INTERVAL)
        )
        super().__init__(body, "Source and sink")

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        kind, request, _, _, _ = setup
        if (kind, request) == (0x40, WRITE):
            self._kept = bytes(data)
            return b""
        if (kind, request) == (0xC0, READ):
            return self._kept
        raise Stall

    def wants(self, address: int, length: int) -> None:
        if address == 0x81:
            self.send(address, PATTERN[:length])
        elif address == 0x83:
            self.later(0.001, self._report)

    def _report(self) -> None:
        if self.asked(0x83):
            self.send(0x83, PATTERN[:INTERRUPT_SIZE])

    def receive(self, address: int, data: Buffer) -> None:
        if address == 0x01 and bytes(data) != PATTERN[: len(data)]:
            self.wrong += 1

    def iso_in(self, address: int, number: int) -> tuple[bytes, Status]:
        return PATTERN[:ISO_SIZE], Status.SUCCESS

    def iso_out(self, address: int, data: bytes) -> None:
        self.iso_packets += 1
        self.iso_bytes += len(data)
