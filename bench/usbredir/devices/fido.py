# SPDX-License-Identifier: BSD-2-Clause
"""A security key as far as its transport goes (FIDO CTAP 2.1, 11.2: CTAPHID): it opens channels and echoes messages."""

from __future__ import annotations

import struct

from bench.usbredir.made import MadeDevice
from router.usbip.protocol import device as usb
from router.usbip.protocol.descriptors import INTERRUPT
from router.usbip.virtual.device import Stall, endpoint, interface
from router.usbip.virtual.hid import HID, SET_IDLE, hid_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

FRAME = 64
REPORTS_IN, REPORTS_OUT = 0x81, 0x01
BROADCAST = 0xFFFFFFFF
INITIAL = 0x80
"""Bit of a frame that begins a message: its command follows."""
PING, CBOR, INIT, ERROR = 0x01, 0x10, 0x06, 0x3F
INVALID_COMMAND, INVALID_CHANNEL = 1, 0x0B
GET_INFO = 0x04
CAN_CBOR = 0x04
# authenticatorGetInfo: success, then a map: versions (1) ["FIDO_2_0"], aaguid (3) of zeros; RFC 8949.
INFORMATION = b"\x00\xa2\x01\x81\x68FIDO_2_0\x03\x50" + bytes(16)
# A vendor's usage page for FIDO with one 64-byte report each way.
REPORT_DESCRIPTOR = bytes.fromhex("06d0f1 0901 a101 0920 150026ff00 7508 9540 8102 0921 150026ff00 7508 9540 9102 c0")
HEAD_INITIAL, HEAD_MORE = struct.Struct(">IBH"), struct.Struct(">IB")


def frames(channel: int, command: int, data: bytes) -> list[bytes]:
    """A message as 64-byte frames."""
    cut = FRAME - HEAD_INITIAL.size
    found = [HEAD_INITIAL.pack(channel, INITIAL | command, len(data)) + data[:cut]]
    for number, at in enumerate(range(cut, len(data), FRAME - HEAD_MORE.size)):
        found.append(HEAD_MORE.pack(channel, number) + data[at : at + FRAME - HEAD_MORE.size])
    return [frame.ljust(FRAME, b"\0") for frame in found]


class Key(MadeDevice):
    """A key that no one needs to touch, because it holds nothing."""

    pid = 0x001A
    speed = usb.SPEED_FULL
    class_descriptors = hid_descriptors(REPORT_DESCRIPTOR)

    def __init__(self) -> None:
        self.messages: list[tuple[int, int]] = []
        """Command and length of each message that came whole."""
        self._channels = 0
        self._message: tuple[int, int, int, bytearray] | None = None
        ends = endpoint(REPORTS_IN, INTERRUPT, FRAME, 5) + endpoint(REPORTS_OUT, INTERRUPT, FRAME, 5)
        super().__init__(interface(0, (3, 0, 0), 2) + self.class_descriptors[HID] + ends, "Security key")

    def receive(self, address: int, data: Buffer) -> None:
        frame = bytes(data)
        if len(frame) != FRAME:
            raise Stall
        if frame[4] & INITIAL:
            channel, command, length = HEAD_INITIAL.unpack_from(frame)
            self._message = (channel, command & ~INITIAL, length, bytearray(frame[HEAD_INITIAL.size :]))
        elif self._message is not None and self._message[0] == HEAD_MORE.unpack_from(frame)[0]:
            self._message[3].extend(frame[HEAD_MORE.size :])
        if self._message is not None and len(self._message[3]) >= self._message[2]:
            channel, command, length, content = self._message
            self._message = None
            self.messages.append((command, length))
            for answer in self._answer(channel, command, bytes(content[:length])):
                self.send(REPORTS_IN, answer)

    def _answer(self, channel: int, command: int, data: bytes) -> list[bytes]:
        if command == INIT and channel == BROADCAST:
            self._channels += 1
            return frames(channel, INIT, data + struct.pack(">IBBBBB", self._channels, 2, 1, 0, 0, CAN_CBOR))
        if not 1 <= channel <= self._channels:
            return frames(channel, ERROR, bytes([INVALID_CHANNEL]))
        if command == PING:
            return frames(channel, PING, data)
        if command == CBOR and data == bytes([GET_INFO]):
            return frames(channel, CBOR, INFORMATION)
        return frames(channel, ERROR, bytes([INVALID_COMMAND]))

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        if setup[1] != SET_IDLE:
            raise Stall
        return b""
