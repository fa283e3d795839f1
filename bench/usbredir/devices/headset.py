# SPDX-License-Identifier: BSD-2-Clause
"""A full-speed headset (USB Audio Class 1.0): a microphone, and loudspeakers, at one packet a millisecond."""

from __future__ import annotations

import struct

from bench.usbredir.made import MadeDevice
from bench.usbredir.protocol import Status
from router.usbip.protocol import device as usb
from router.usbip.protocol.descriptors import ISOCHRONOUS
from router.usbip.virtual.audio import GET_CUR, SET_CUR
from router.usbip.virtual.device import Stall, endpoint, interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

SAMPLES_IN, SAMPLES_OUT = 0x81, 0x02
RATE = 48_000
A_PACKET = RATE // 1000
"""Frames of one packet."""
ASYNCHRONOUS, ADAPTIVE = 0x04, 0x08
COUNTED = struct.Struct(f"<{A_PACKET}I")


def streaming(number: int, terminal: int, address: int, attributes: int) -> bytes:
    """An interface, and a setting of it with an endpoint for stereo of 16 bits (UAC 1.0, 4.5 and 4.6)."""
    return (
        interface(number, (1, 2, 0), 0)
        + interface(number, (1, 2, 0), 1, alternate=1)
        + bytes([7, 0x24, 1, terminal, 1, 1, 0])
        + bytes([11, 0x24, 2, 1, 2, 2, 16, 1])
        + RATE.to_bytes(3, "little")
        + endpoint(address, attributes | ISOCHRONOUS, 4 * A_PACKET, 1, bytes(2))
        + bytes([7, 0x25, 1, 0, 0, 0, 0])
    )


class Headset(MadeDevice):
    """48 kHz, 16 bit, stereo. The microphone's frames count up as 32-bit numbers; what is played is kept."""

    pid = 0x0013
    speed = usb.SPEED_FULL

    def __init__(self) -> None:
        self.packets = 0
        """Of samples, made since the headset was plugged in."""
        self.played = bytearray()
        # UAC 1.0, 4.3.2: the microphone (terminal 1) to the host (2), the host (3) to the loudspeakers (4).
        terminals = (
            bytes([12, 0x24, 2, 1, 0x01, 0x02, 0, 2, 3, 0, 0, 0])
            + bytes([9, 0x24, 3, 2, 0x01, 0x01, 0, 1, 0])
            + bytes([12, 0x24, 2, 3, 0x01, 0x01, 0, 2, 3, 0, 0, 0])
            + bytes([9, 0x24, 3, 4, 0x01, 0x03, 0, 3, 0])
        )
        head = struct.pack("<BBBHHBBB", 10, 0x24, 1, 0x0100, 10 + len(terminals), 2, 1, 2)
        body = (
            interface(0, (1, 1, 0), 0)
            + head
            + terminals
            + streaming(1, 2, SAMPLES_IN, ASYNCHRONOUS)
            + streaming(2, 3, SAMPLES_OUT, ADAPTIVE)
        )
        super().__init__(body, "Counting headset")

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        kind, request, _, _, _ = setup
        if kind & 0x1F == 2 and request == GET_CUR:
            return RATE.to_bytes(3, "little")
        if kind & 0x1F == 2 and request == SET_CUR:
            return b""
        raise Stall

    def iso_in(self, address: int, number: int) -> tuple[bytes, Status]:
        # Not by `number`, which begins again with each stream.
        first = self.packets * A_PACKET
        self.packets += 1
        return COUNTED.pack(*range(first, first + A_PACKET)), Status.SUCCESS

    def iso_out(self, address: int, data: bytes) -> None:
        self.played += data
