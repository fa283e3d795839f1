# SPDX-License-Identifier: BSD-2-Clause
"""A low-speed mouse (HID 1.11, boot protocol) that moves while it is read."""

from __future__ import annotations

import struct

from bench.usbredir.made import MadeDevice
from router.usbip.protocol import device as usb
from router.usbip.protocol.descriptors import INTERRUPT
from router.usbip.virtual.device import Stall, endpoint, interface
from router.usbip.virtual.hid import GET_REPORT, HID, SET_IDLE, SET_PROTOCOL, hid_descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

MOVES_IN = 0x81
# The boot mouse of HID 1.11, appendix E.10: three buttons, five bits of nothing, X and Y as signed bytes.
REPORT_DESCRIPTOR = bytes.fromhex(
    "05010902a101 0901a100 0509 19012903 15002501 95037501 8102 95017505 8101 0501 09300931 1581257f 75089502 8106 c0c0"
)
PERIOD_S = 0.02
MAX_STEP = 100


class Mouse(MadeDevice):
    """Each 20 ms a move to the right, by 1, 2, … 100, 1, … counts."""

    pid = 0x0011
    speed = usb.SPEED_LOW
    class_descriptors = hid_descriptors(REPORT_DESCRIPTOR)

    def __init__(self) -> None:
        self.moves = 0
        """How many were sent since the mouse was plugged in."""
        self._moving = False
        body = interface(0, (3, 1, 2), 1) + self.class_descriptors[HID] + endpoint(MOVES_IN, INTERRUPT, 4, 10)
        super().__init__(body, "Low-speed mouse")

    def configured(self) -> None:
        self._moving = False

    def wants(self, address: int, length: int) -> None:
        if not self._moving:
            self._moving = True
            self.later(PERIOD_S, self._move)

    def _move(self) -> None:
        self._moving = False
        if self.asked(MOVES_IN):
            step = self.moves % MAX_STEP + 1
            self.moves += 1
            self.send(MOVES_IN, struct.pack("<Bbb", 0, step, 0))

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        _, request, _, _, _ = setup
        if request == GET_REPORT:
            return bytes(3)
        if request not in (SET_IDLE, SET_PROTOCOL):
            raise Stall
        return b""
