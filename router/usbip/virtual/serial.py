# SPDX-License-Identifier: BSD-2-Clause
"""A virtual serial line whose ends are joined: what is written comes back (CDC 1.2, PSTN subclass 1.2, ACM)."""

from __future__ import annotations

from router.usbip.protocol.descriptors import BULK, INTERRUPT
from router.usbip.virtual.device import Stall, VirtualDevice, endpoint, interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

NOTIFY_IN, DATA_IN, DATA_OUT = 0x81, 0x82, 0x02
SET_LINE_CODING, GET_LINE_CODING, SET_CONTROL_LINE_STATE, SEND_BREAK = 0x20, 0x21, 0x22, 0x23
# 9600 baud, one stop bit, no parity, 8 bits
LINE_CODING = bytes([0x80, 0x25, 0, 0, 0, 0, 8])


class Serial(VirtualDevice):
    """Returns each transfer as it came."""

    pid = 0x0003
    triple = (2, 0, 0)

    def __init__(self, serial: str = "1") -> None:
        # Header, call management, abstract control management, union (CDC 1.2, 5.2.3; PSTN 1.2, 5.3).
        functional = bytes.fromhex("0524001001 0524010001 04240202 0524060001")
        body = (
            interface(0, (2, 2, 1), 1)
            + functional
            + endpoint(NOTIFY_IN, INTERRUPT, 16, 9)
            + interface(1, (0x0A, 0, 0), 2)
            + endpoint(DATA_IN, BULK, 512)
            + endpoint(DATA_OUT, BULK, 512)
        )
        self.line_coding: bytes = LINE_CODING
        self.line_state = 0
        super().__init__(body, "Virtual serial line", serial)

    def receive(self, address: int, data: Buffer) -> None:
        if address != DATA_OUT:
            raise Stall
        if len(data):
            self.send(DATA_IN, bytes(data))

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        _, request, value, _, _ = setup
        if request == GET_LINE_CODING:
            return self.line_coding
        if request == SET_LINE_CODING and len(data) == len(LINE_CODING):
            self.line_coding = bytes(data)
        elif request == SET_CONTROL_LINE_STATE:
            self.line_state = value
        elif request != SEND_BREAK:
            raise Stall
        return b""
