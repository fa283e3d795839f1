# SPDX-License-Identifier: BSD-2-Clause
"""A high-speed camera (USB Video Class 1.0) with one isochronous packet of 1024 bytes a millisecond."""

from __future__ import annotations

import binascii
import hashlib
import struct

from bench.usbredir.made import MadeDevice
from bench.usbredir.protocol import Status
from router.usbip.protocol import device as usb
from router.usbip.protocol.descriptors import ISOCHRONOUS
from router.usbip.virtual.device import Stall, endpoint, interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

VIDEO_IN = 0x81
WIDTH, HEIGHT, RATE = 160, 120, 10
SIZE = 2 * WIDTH * HEIGHT
"""Bytes of a frame of YUY2."""
PACKET = 1024
PACKETS_A_FRAME = 1000 // RATE
INTERVAL = 4
"""bInterval: 2 to the power of 3 microframes, one millisecond."""
TICKS = 10_000_000 // RATE
"""Of a frame, in units of 100 ns."""
HEAD = 2
END_OF_HEADER, END_OF_FRAME = 0x80, 0x02
SET_CUR, GET_CUR, GET_LEN, GET_INFO = 0x01, 0x81, 0x85, 0x86
YUY2 = bytes.fromhex("5955593200001000800000aa00389b71")


def picture(number: int) -> bytes:
    """A frame: its number (u32, little-endian), and bytes that only this number has."""
    head = number.to_bytes(4, "little")
    return head + hashlib.shake_128(head).digest(SIZE - 4)


class Camera(MadeDevice):
    """160 x 120 pixels, 10 frames a second, numbered from 0 since it was made."""

    pid = 0x0012
    triple = (0xEF, 2, 1)
    speed = usb.SPEED_HIGH

    def __init__(self) -> None:
        self.sums: list[int] = []
        """CRC-32 of each frame that was begun, by its number."""
        self._first = 0
        self._picture = b""
        # UVC 1.0: 3.7.2 (header, camera, output), then 3.9.2 and the payload documents (input header, format, frame).
        units = bytes([18, 0x24, 2, 1, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0])
        units += bytes([9, 0x24, 3, 2, 0x01, 0x01, 0, 1, 0])
        control = struct.pack("<BBBHHIBB", 13, 0x24, 1, 0x0100, 13 + len(units), 48_000_000, 1, 1) + units
        bits = SIZE * 8 * RATE
        stream = struct.pack("<BBBBB16sBBBBBB", 27, 0x24, 4, 1, 1, YUY2, 16, 1, 0, 0, 0, 0)
        stream += struct.pack("<BBBBBHHIIIIBI", 30, 0x24, 5, 1, 0, WIDTH, HEIGHT, bits, bits, SIZE, TICKS, 1, TICKS)
        stream += bytes([6, 0x24, 13, 1, 1, 4])
        head = struct.pack("<BBBBHBBBBBBBB", 14, 0x24, 1, 1, 14 + len(stream), VIDEO_IN, 0, 2, 0, 0, 0, 1, 0)
        body = (
            bytes([8, 11, 0, 2, 14, 3, 0, 0])
            + interface(0, (14, 1, 0), 0)
            + control
            + interface(1, (14, 2, 0), 0)
            + head
            + stream
            + interface(1, (14, 2, 0), 1, alternate=1)
            + endpoint(VIDEO_IN, 0x04 | ISOCHRONOUS, PACKET, INTERVAL)
        )
        super().__init__(body, "Counting camera")

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        kind, request, _, index, _ = setup
        if kind == 0x21 and request == SET_CUR:
            return b""
        if kind == 0xA1 and index & 0xFF == 1:
            if request == GET_INFO:
                return b"\x03"
            if request == GET_LEN:
                return struct.pack("<H", 26)
            # Probe and commit (UVC 1.0, 4.3.1.1): there is one choice only.
            return struct.pack("<HBBIHHHHHII", 1, 1, 1, TICKS, 0, 0, 0, 0, 0, SIZE, PACKET)
        raise Stall

    def stream_began(self, address: int) -> None:
        self._first = len(self.sums)

    def iso_in(self, address: int, number: int) -> tuple[bytes, Status]:
        frame, part = divmod(number, PACKETS_A_FRAME)
        frame += self._first
        at = part * (PACKET - HEAD)
        if at >= SIZE:
            return b"", Status.SUCCESS
        if part == 0:
            self._picture = picture(frame)
            self.sums.append(binascii.crc32(self._picture))
        body = self._picture[at : at + PACKET - HEAD]
        last = END_OF_FRAME if at + len(body) == SIZE else 0
        return bytes([HEAD, END_OF_HEADER | frame & 1 | last]) + body, Status.SUCCESS
