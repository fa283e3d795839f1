# SPDX-License-Identifier: BSD-2-Clause
"""The ioctls of usbfs (linux/usbdevice_fs.h, 64-bit) on an open /dev/bus/usb/BBB/DDD, and its URB blocks in memory.

The kernel keeps the address of a submitted URB block until it is reaped, and writes the result there. `fcntl.ioctl`
hands the address of a writable buffer through only above 1024 bytes (it copies smaller ones to its stack), so a block
is larger than its contents need. With that, ctypes and its start-up time are not needed.
"""

from __future__ import annotations

import fcntl
import struct
from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Completer
    from router.usbip.protocol import urb

SETINTERFACE = 0x80085504
SETCONFIGURATION = 0x80045505
SUBMITURB = 0x8038550A
DISCARDURB = 0x0000550B
REAPURBNDELAY = 0x4008550D
RELEASEINTERFACE = 0x80045510
IOCTL = 0xC0105512
RESET = 0x00005514
CLEAR_HALT = 0x80045515
CONNECT = 0x00005517
CLAIM_PORT = 0x80045518
DISCONNECT_CLAIM = 0x8108551B

TYPE_ISO, TYPE_INTERRUPT, TYPE_CONTROL, TYPE_BULK = range(4)
MAX_ISO_PACKETS = 128

# type, endpoint, status, flags, buffer, buffer_length, actual_length, start_frame, number_of_packets, error_count,
# signr, usercontext
_URB = struct.Struct("<BBxxiI4xQiiiiiIQ")
_RESULT = struct.Struct("<4xi20xi")
_RESULT_ISO = struct.Struct("<32xi4xi")
_ISO_IN = struct.Struct("<III")
_URB_SIZE = _URB.size
BLOCK_SIZE = 1664
_ZERO = array("B", bytes(1))
_POINTER = struct.Struct("=Q")
# Where REAPURBNDELAY writes; the daemons have one thread.
_reaped = bytearray(8)

assert BLOCK_SIZE > 1024 and _URB_SIZE + MAX_ISO_PACKETS * _ISO_IN.size <= BLOCK_SIZE


def zeros(size: int) -> array[int]:
    """A buffer whose address stays the same; `array` can tell it."""
    return _ZERO * size


class Block:
    """One URB's place in memory, with the buffer that its data goes to or comes from, and whom it is for."""

    __slots__ = ("address", "buffer", "cancelled", "group", "memory", "session", "submit")

    def __init__(self) -> None:
        self.memory = zeros(BLOCK_SIZE)
        self.address = self.memory.buffer_info()[0]
        self.buffer: array[int] = zeros(1)
        self.submit: urb.Submit | None = None
        self.session: Completer | None = None
        self.cancelled = False
        # All blocks of an isochronous transfer, this one among them.
        self.group: list[Block] = []

    def fill(
        self, kind: int, endpoint: int, flags: int, length: int, start: int = 0, iso: list[int] | None = None
    ) -> None:
        """Writes the request; `buffer` must be set and as long as `length`. iso: each packet's length."""
        packets = len(iso) if iso else 0
        where = self.buffer.buffer_info()[0]
        _URB.pack_into(self.memory, 0, kind, endpoint, 0, flags, where, length, 0, start, packets, 0, 0, 0)
        if iso:
            for number, size in enumerate(iso):
                _ISO_IN.pack_into(self.memory, _URB_SIZE + number * _ISO_IN.size, size, 0, 0)

    def result(self) -> tuple[int, int]:
        """(status, actual length) after the reaping."""
        status, actual = _RESULT.unpack_from(self.memory)
        return status, actual

    def iso_frame(self) -> tuple[int, int]:
        """(start frame, error count) of an isochronous transfer."""
        start, errors = _RESULT_ISO.unpack_from(self.memory)
        return start, errors

    def iso_result(self, number: int) -> tuple[int, int]:
        """(actual length, status) of a packet."""
        _, actual, status = _ISO_IN.unpack_from(self.memory, _URB_SIZE + number * _ISO_IN.size)
        return actual, status - (1 << 32) if status >> 31 else status


def submit(fd: int, block: Block) -> None:
    fcntl.ioctl(fd, SUBMITURB, block.memory)


def discard(fd: int, block: Block) -> None:
    fcntl.ioctl(fd, DISCARDURB, block.memory)


def reap(fd: int) -> int:
    """The address of a finished URB's block. BlockingIOError: there is none; OSError ENODEV: the device has gone."""
    fcntl.ioctl(fd, REAPURBNDELAY, _reaped)
    address: int = _POINTER.unpack_from(_reaped)[0]
    return address


def number(fd: int, code: int, value: int) -> None:
    """An ioctl that takes one unsigned int."""
    fcntl.ioctl(fd, code, struct.pack("=I", value))


def set_interface(fd: int, interface: int, alternate: int) -> None:
    fcntl.ioctl(fd, SETINTERFACE, struct.pack("=II", interface, alternate))


def disconnect_claim(fd: int, interface: int) -> None:
    """Takes the interface from its driver and claims it, in one step."""
    fcntl.ioctl(fd, DISCONNECT_CLAIM, struct.pack("=II256x", interface, 0))


def connect(fd: int, interface: int) -> None:
    """Lets the kernel's drivers have the interface again."""
    fcntl.ioctl(fd, IOCTL, struct.pack("=iiQ", interface, CONNECT, 0))


def reset(fd: int) -> None:
    fcntl.ioctl(fd, RESET)
