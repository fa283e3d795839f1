# SPDX-License-Identifier: BSD-2-Clause
"""Devices that do what real ones do on bad days: they stall, come short, answer late or never, and disappear."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum

from bench.usbredir.made import MadeDevice
from router.usbip.protocol import device as usb
from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import BULK, CLEAR_FEATURE
from router.usbip.virtual.device import Stall, endpoint, interface
from router.usbip.virtual.disk import DATA_IN, FAILED, Disk
from router.usbip.virtual.serial import DATA_IN as LINE_IN
from router.usbip.virtual.serial import DATA_OUT as LINE_OUT
from router.usbip.virtual.serial import Serial

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer, Completer

ABORTED_COMMAND = (0x0B, 0, 0)
"""A sense key that has the host try again (SPC-4, 4.5.6)."""
READ_10 = 0x28
MAX_FAILED = 6
"""Each costs a host that reads ahead many small reads in place of a large one."""
PIECE, BEFORE_HALT = 256, 4
"""Bytes of a piece that a StallingLine sends, and pieces between two halts."""


class StallingLine(Serial):
    """A serial line (CDC-ACM) that returns bytes inverted, in pieces; after every fourth its endpoint halts."""

    pid = 0x0014

    def __init__(self) -> None:
        self.received = self.halts = 0
        self._pieces: deque[bytes] = deque()
        super().__init__()

    def receive(self, address: int, data: Buffer) -> None:
        if address != LINE_OUT:
            raise Stall
        self.received += len(data)
        inverted = bytes(255 - byte for byte in data)
        self._pieces += [inverted[at : at + PIECE] for at in range(0, len(inverted), PIECE)]
        self._go_on()

    def configured(self) -> None:
        self._pieces.clear()

    def standard(self, setup: tuple[int, int, int, int, int]) -> Buffer:
        answer = super().standard(setup)
        if setup[:2] == (2, CLEAR_FEATURE) and setup[3] == LINE_IN:
            self._go_on()
        return answer

    def _go_on(self) -> None:
        if self.session is not None:
            self.session.loop.call_soon(self._send_some, self.session.fail)

    def _send_some(self) -> None:
        if LINE_IN in self.halted:
            return
        for _ in range(min(BEFORE_HALT, len(self._pieces))):
            self.send(LINE_IN, self._pieces.popleft())
        if self._pieces:
            self.halts += 1
            self.halt(LINE_IN)


class StallingDisk(Disk):
    """Every fourth read fails, six times: a stall, one more once that is cleared, and a status for trying again."""

    pid = 0x0015

    def __init__(self, path: str) -> None:
        self.reads = self.failed = self.cleared = 0
        self._once_more = False
        super().__init__(path, super_speed=False)

    def _command(self, tag: int, command: bytes, length: int, incoming: bool) -> None:
        if command[0] == READ_10:
            self.reads += 1
            if self.reads % 4 == 0 and self.failed < MAX_FAILED:
                self.failed += 1
                self._once_more = True
                self._sense = ABORTED_COMMAND
                self.halt(DATA_IN)
                self._status(tag, length, FAILED)
                return
        super()._command(tag, command, length, incoming)

    def standard(self, setup: tuple[int, int, int, int, int]) -> Buffer:
        answer = super().standard(setup)
        if setup[:2] == (2, CLEAR_FEATURE) and setup[3] == DATA_IN:
            self.cleared += 1
            if self._once_more:
                self._once_more = False
                self.halt(DATA_IN)
        return answer


class VanishingDisk(Disk):
    """A disk that leaves the bus in the middle of a read, once it has been asked for so many blocks."""

    pid = 0x0016

    def __init__(self, path: str, blocks: int, vanish: Callable[[], None]) -> None:
        self._left = blocks
        self._vanish = vanish
        super().__init__(path, super_speed=False)

    def _command(self, tag: int, command: bytes, length: int, incoming: bool) -> None:
        if command[0] == READ_10:
            self._left -= length // 512
            if self._left < 0:
                self._vanish()
                return
        super()._command(tag, command, length, incoming)


class Answer(IntEnum):
    """What a byte OUT asks an OddDevice for; the next transfer IN gets it."""

    WHOLE = 0
    """As many bytes as are asked for."""
    SHORT = 1
    EMPTY = 2
    LONG = 3
    """A packet more than was asked for."""
    LATE = 4
    NEVER = 5
    STALL = 6


ODD_IN, ODD_OUT, ODD_SIZE = 0x81, 0x01, 512
SHORT_SIZE = 13
LATE_S = 1.5


def odd_bytes(count: int) -> bytes:
    """What an OddDevice sends."""
    return bytes(at * 7 & 0xFF for at in range(count))


class OddDevice(MadeDevice):
    """Answers as it is asked to."""

    pid = 0x0017
    triple = (0xFF, 0, 0)
    speed = usb.SPEED_HIGH

    def __init__(self) -> None:
        self.answered: list[Answer] = []
        self.cancelled = 0
        self._next = Answer.WHOLE
        body = interface(0, (0xFF, 0, 0), 2) + endpoint(ODD_IN, BULK, ODD_SIZE) + endpoint(ODD_OUT, BULK, ODD_SIZE)
        super().__init__(body, "Odd device")

    def receive(self, address: int, data: Buffer) -> None:
        self._next = Answer(data[0])

    def wants(self, address: int, length: int) -> None:
        self.answered.append(self._next)
        if self._next == Answer.SHORT:
            self.send(address, odd_bytes(SHORT_SIZE))
        elif self._next == Answer.EMPTY:
            self.send(address, b"")
        elif self._next == Answer.LONG:
            self._complete(self._waiting[address].popleft(), urb.EOK, odd_bytes(length + ODD_SIZE))
        elif self._next == Answer.LATE:
            self.later(LATE_S, lambda: self.send(address, odd_bytes(length)))
        elif self._next == Answer.STALL:
            self.halt(address)
        elif self._next == Answer.WHOLE:
            self.send(address, odd_bytes(length))

    def cancel(self, submit: urb.Submit, session: Completer) -> None:
        self.cancelled += 1
        super().cancel(submit, session)
