# SPDX-License-Identifier: BSD-2-Clause
"""A device whose firmware is replaced over USB (DFU 1.1): it becomes another device, and then itself again."""

from __future__ import annotations

import struct
from enum import IntEnum

from bench.usbredir.made import MadeDevice
from router.usbip.protocol import device as usb
from router.usbip.virtual.device import Stall, interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

DETACH, DNLOAD, UPLOAD, GETSTATUS, CLRSTATUS, GETSTATE, ABORT = range(7)
BLOCK = 1024
"""wTransferSize."""
BUSY_MS = 5
LEAVE_S = 0.05
"""From the answer to the request to the bus."""
# Can download and upload, leaves the bus of its own accord (bitWillDetach); DFU 1.1, 4.1.3.
FUNCTIONAL = struct.pack("<BBBHHH", 9, 0x21, 0x0B, 1000, BLOCK, 0x0110)


class State(IntEnum):
    """DFU 1.1, 6.1.2."""

    IDLE = 2
    DNLOAD_SYNC = 3
    DNLOAD_IDLE = 5
    MANIFEST_SYNC = 6
    MANIFEST_WAIT_RESET = 8
    UPLOAD_IDLE = 9


class Application(MadeDevice):
    """Runs `firmware`, and says so by its release number: the length of it."""

    pid = 0x0018
    speed = usb.SPEED_FULL

    def __init__(self, firmware: bytes) -> None:
        self.firmware = firmware
        self.bcd = len(firmware) & 0x7FFF
        super().__init__(interface(0, (0xFE, 1, 1), 0) + FUNCTIONAL, "Application")

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        kind, request, _, _, _ = setup
        if (kind, request) != (0x21, DETACH):
            raise Stall
        self.later(LEAVE_S, lambda: self.become(Loader(self.firmware)))
        return b""


class Loader(MadeDevice):
    """Takes a firmware block by block, gives what it has, and becomes the application when it has a new one."""

    pid = 0x0019
    speed = usb.SPEED_FULL

    def __init__(self, firmware: bytes) -> None:
        self.state = State.IDLE
        self._kept = firmware
        self._new = bytearray()
        super().__init__(interface(0, (0xFE, 1, 2), 0) + FUNCTIONAL, "Loader")

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        _, request, number, _, length = setup
        if request == DNLOAD and self.state in (State.IDLE, State.DNLOAD_IDLE):
            return self._download(number, bytes(data))
        if request == UPLOAD and self.state in (State.IDLE, State.UPLOAD_IDLE):
            part = self._kept[number * BLOCK : number * BLOCK + length]
            self.state = State.UPLOAD_IDLE if len(part) == length else State.IDLE
            return part
        if request == GETSTATUS:
            return self._status()
        if request == ABORT:
            self.state = State.IDLE
            return b""
        raise Stall

    def _download(self, number: int, block: bytes) -> bytes:
        if not block:
            self.state = State.MANIFEST_SYNC
        elif number * BLOCK != len(self._new):
            raise Stall
        else:
            self._new += block
            self.state = State.DNLOAD_SYNC
        return b""

    def _status(self) -> bytes:
        if self.state == State.DNLOAD_SYNC:
            self.state = State.DNLOAD_IDLE
        elif self.state == State.MANIFEST_SYNC:
            self.state = State.MANIFEST_WAIT_RESET
            self.later(LEAVE_S, lambda: self.become(Application(bytes(self._new))))
        return struct.pack("<B3sBB", 0, BUSY_MS.to_bytes(3, "little"), self.state, 0)
