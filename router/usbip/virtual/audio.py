# SPDX-License-Identifier: BSD-2-Clause
"""A virtual microphone that plays a tone: an isochronous source (Audio Device Class 1.0)."""

from __future__ import annotations

import math
import struct
import time

from router.usbip.protocol import device as usb
from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import ISOCHRONOUS
from router.usbip.virtual.device import Stall, VirtualDevice, endpoint, interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer, Completer
    from router.usbip.runtime.event_loop import Timer

SAMPLES_IN = 0x81
RATE = 48000
TONE = 1000
FRAME = 0.001
FRAME_BYTES = RATE // 1000 * 2
GET_CUR, SET_CUR = 0x81, 0x01
# One period of the tone is one frame: 48 samples of 16 bits at half amplitude.
SAMPLES = struct.pack(
    f"<{RATE // TONE}h", *(round(16384 * math.sin(2 * math.pi * TONE * n / RATE)) for n in range(RATE // TONE))
)


class Microphone(VirtualDevice):
    """48 kHz, 16 bit, mono; a frame of 96 bytes each millisecond of a full-speed bus."""

    pid = 0x0004
    speed = usb.SPEED_FULL

    def __init__(self, serial: str = "1") -> None:
        # A header, a microphone (input terminal 1), the way to the host (output terminal 2); then the stream's format
        # and its endpoint (UAC 1.0, 4.3.2, 4.5.2 and 4.6.1).
        control = bytes.fromhex("0924010001 1e00 0101 0c240201 0102 000100000000 09240302 0101 000100")
        stream = bytes.fromhex("07240102010100 0b240201 01 02 10 01 80bb00")
        body = (
            interface(0, (1, 1, 0), 0)
            + control
            + interface(1, (1, 2, 0), 0)
            + interface(1, (1, 2, 0), 1, alternate=1)
            + stream
            + endpoint(SAMPLES_IN, 0x04 | ISOCHRONOUS, FRAME_BYTES + 4, 1, bytes(2))
            + bytes.fromhex("07250100000000")
        )
        self._due = 0.0
        self._timers: dict[int, Timer] = {}
        super().__init__(body, "Virtual microphone", serial)

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        kind, request, _, _, _ = setup
        # The sampling frequency of the endpoint is the only thing to ask for, and it is fixed.
        if kind & 0x1F == 2 and request == GET_CUR:
            return RATE.to_bytes(3, "little")
        if kind & 0x1F == 2 and request == SET_CUR:
            return b""
        raise Stall

    def configured(self) -> None:
        self._due = 0.0

    def isochronous(self, submit: urb.Submit, session: Completer) -> None:
        """Answers when the frames that are asked for have passed, as a bus would."""
        if submit.direction != urb.IN or not submit.iso:
            session.complete(submit, urb.EINVAL)
            return
        now = time.monotonic()
        # A client that fell behind by more than a moment starts afresh.
        if self._due < now - 0.1:
            self._due = now
        self._due += FRAME * len(submit.iso)
        self._timers[submit.seqnum] = session.loop.call_later(
            self._due - now, lambda: self._play(submit, session), session.fail
        )

    def cancel(self, submit: urb.Submit, session: Completer) -> None:
        timer = self._timers.pop(submit.seqnum, None)
        if timer:
            timer.cancel()
        super().cancel(submit, session)

    def stopped(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _play(self, submit: urb.Submit, session: Completer) -> None:
        self._timers.pop(submit.seqnum, None)
        results: list[urb.IsoPacket] = []
        data = bytearray()
        for offset, length in submit.iso or ():
            part = SAMPLES[:length]
            data += part
            results.append((offset, length, len(part), 0))
        session.complete(submit, urb.EOK, bytes(data), iso=results)
