# SPDX-License-Identifier: BSD-2-Clause
"""A virtual disk over a file: bulk-only transport (Mass Storage Class BOT 1.0) and the SCSI commands that disks get.

SCSI: SPC-4 and SBC-3. The data of a read goes from the file into the answer once, whatever its size.
"""

from __future__ import annotations

import os
import struct

from router.errors import HostError
from router.usbip.protocol import device as usb
from router.usbip.protocol.descriptors import BULK
from router.usbip.virtual.device import Stall, VirtualDevice, endpoint, interface

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer

DATA_IN, DATA_OUT = 0x81, 0x02
BLOCK = 512
CBW = struct.Struct("<4sIIBBB16s")
CSW = struct.Struct("<4sIIB")
GET_MAX_LUN, RESET = 0xFE, 0xFF
GOOD, FAILED, PHASE_ERROR = range(3)

# sense key, additional code and qualifier (SPC-4, annex D)
NO_SENSE = (0, 0, 0)
BAD_OPCODE = (5, 0x20, 0)
BAD_FIELD = (5, 0x24, 0)
OUT_OF_RANGE = (5, 0x21, 0)
WRITE_PROTECTED = (7, 0x27, 0)
WRITE_FAULT = (3, 0x0C, 0)
READ_FAULT = (3, 0x11, 0)
Sense = tuple[int, int, int]

# No more than a USB/IP transfer may be.
MAX_COMMAND = 16 << 20


class Refused(Exception):
    """A SCSI command ends with CHECK CONDITION."""

    def __init__(self, sense: Sense) -> None:
        super().__init__(sense)
        self.sense = sense


class Disk(VirtualDevice):
    """A removable disk of a file's whole blocks. HostError if the file cannot be had."""

    pid = 0x0005

    def __init__(
        self, path: str, serial: str = "000000000001", read_only: bool = False, super_speed: bool = True
    ) -> None:
        self.speed = usb.SPEED_SUPER if super_speed else usb.SPEED_HIGH
        size = 1024 if super_speed else 512
        companion = bytes([6, 0x30, 15, 0, 0, 0]) if super_speed else b""
        body = (
            interface(0, (8, 6, 0x50), 2)
            + endpoint(DATA_IN, BULK, size)
            + companion
            + endpoint(DATA_OUT, BULK, size)
            + companion
        )
        try:
            self._file = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"cannot open the disk's file: {error.strerror}", None, path) from error
        self.blocks = os.fstat(self._file).st_size // BLOCK
        if not self.blocks:
            os.close(self._file)
            raise HostError("the disk's file holds no block of 512 bytes", "make it larger", path)
        self.read_only = read_only
        self.serial = serial
        self._sense: Sense = NO_SENSE
        # tag, where to write, bytes still to come, and what the command answers then
        self._writing: tuple[int, int, int, int] | None = None
        super().__init__(body, "Virtual disk", serial)

    def close(self) -> None:
        os.close(self._file)

    # Bulk-only transport

    def control(self, setup: tuple[int, int, int, int, int], data: Buffer) -> Buffer:
        _, request, _, _, _ = setup
        if request == GET_MAX_LUN:
            return b"\0"
        if request == RESET:
            self._writing = None
            return b""
        raise Stall

    def configured(self) -> None:
        self._writing = None

    def receive(self, address: int, data: Buffer) -> None:
        if self._writing:
            self._write_part(data)
            return
        if len(data) != CBW.size:
            raise Stall
        signature, tag, length, flags, lun, size, command = CBW.unpack(data)
        if signature != b"USBC" or lun or not 1 <= size <= 16 or length > MAX_COMMAND:
            raise Stall
        incoming = bool(flags & 0x80)
        try:
            self._command(tag, command, length, incoming)
        except Refused as refused:
            self._sense = refused.sense
            self._finish(tag, length, incoming, b"", FAILED)

    def _finish(self, tag: int, length: int, incoming: bool, answer: Buffer, status: int) -> None:
        """Sends what the command answers, then its status (BOT 1.0, 6.7: the thirteen cases)."""
        if length and incoming:
            # Less than the host expects ends with a short packet, so no halt is needed; nothing is a zero-length one.
            self.send(DATA_IN, answer)
        elif length:
            # Data comes OUT for a command that takes none: it is read and thrown away.
            self._writing = (tag, -1, length, status)
            return
        self._status(tag, length - len(answer), status)

    def _status(self, tag: int, residue: int, status: int) -> None:
        self.send(DATA_IN, CSW.pack(b"USBS", tag, residue, status))

    def _write_part(self, data: Buffer) -> None:
        assert self._writing
        tag, at, left, status = self._writing
        part = data[:left]
        if at >= 0 and status == GOOD:
            try:
                _write_all(self._file, part, at)
            except OSError:
                self._sense = WRITE_FAULT
                status = FAILED
            at += len(part)
        left -= len(part)
        if left and len(data):
            self._writing = (tag, at, left, status)
            return
        self._writing = None
        self._status(tag, left, status)

    # SCSI

    def _command(self, tag: int, command: bytes, length: int, incoming: bool) -> None:
        code = command[0]
        if code in (0x28, 0x88, 0x08, 0xA8):
            at, count = self._range(command)
            if not incoming and length:
                raise Refused(BAD_FIELD)
            try:
                answer = os.pread(self._file, min(count, length), at)
            except OSError:
                raise Refused(READ_FAULT) from None
            self._finish(tag, length, True, answer, GOOD if count <= length else PHASE_ERROR)
        elif code in (0x2A, 0x8A, 0x0A, 0xAA):
            at, count = self._range(command)
            if self.read_only:
                raise Refused(WRITE_PROTECTED)
            if incoming or count != length:
                raise Refused(BAD_FIELD)
            if count:
                self._writing = (tag, at, count, GOOD)
            else:
                self._status(tag, 0, GOOD)
        else:
            answer = self._answer(code, command)
            if len(answer) and not incoming:
                raise Refused(BAD_FIELD)
            self._finish(tag, length, incoming, answer[:length], GOOD)

    def _range(self, command: bytes) -> tuple[int, int]:
        """(offset, bytes) of a read or write."""
        code = command[0]
        if code in (0x08, 0x0A):
            at, count = int.from_bytes(command[1:4], "big") & 0x1FFFFF, command[4] or 256
        elif code in (0x28, 0x2A):
            at, count = struct.unpack_from(">I", command, 2)[0], struct.unpack_from(">H", command, 7)[0]
        elif code in (0xA8, 0xAA):
            at, count = struct.unpack_from(">II", command, 2)
        else:
            at, count = struct.unpack_from(">QI", command, 2)
        if at + count > self.blocks:
            raise Refused(OUT_OF_RANGE)
        return at * BLOCK, count * BLOCK

    def _answer(self, code: int, command: bytes) -> bytes:
        """What a command that moves no blocks answers."""
        if code in (0x00, 0x1B, 0x1E, 0x2F, 0x8F):
            # TEST UNIT READY, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, VERIFY
            return b""
        if code == 0x03:
            key, additional, qualifier = self._sense
            self._sense = NO_SENSE
            return struct.pack(">BBBIBIBBBB2x", 0x70, 0, key, 0, 10, 0, additional, qualifier, 0, 0)[: command[4]]
        if code == 0x12:
            return self._inquiry(command)[: struct.unpack_from(">H", command, 3)[0]]
        if code == 0x1A:
            return bytes([3, 0, 0x80 if self.read_only else 0, 0])[: command[4]]
        if code == 0x5A:
            return struct.pack(">HBB4x", 6, 0, 0x80 if self.read_only else 0)
        if code == 0x23:
            return struct.pack(">3xBII", 8, min(self.blocks, 0xFFFFFFFF), 0x02000000 | BLOCK)
        if code == 0x25:
            return struct.pack(">II", min(self.blocks - 1, 0xFFFFFFFF), BLOCK)
        if code == 0x9E and command[1] & 0x1F == 0x10:
            return struct.pack(">QI20x", self.blocks - 1, BLOCK)
        if code in (0x35, 0x91):
            try:
                os.fsync(self._file)
            except OSError:
                raise Refused(WRITE_FAULT) from None
            return b""
        if code == 0xA0:
            return struct.pack(">I4x8x", 8)
        raise Refused(BAD_OPCODE)

    def _inquiry(self, command: bytes) -> bytes:
        if not command[1] & 1:
            if command[2]:
                raise Refused(BAD_FIELD)
            return struct.pack(">8B8s16s4s", 0, 0x80, 6, 2, 31, 0, 0, 0, b"router  ", b"Virtual disk    ", b"1.0 ")
        pages = {
            0x00: bytes([0x00, 0x80, 0x83]),
            0x80: self.serial.encode(),
            0x83: bytes([2, 1, 0, 8 + len(self.serial)]) + b"router  " + self.serial.encode(),
        }
        if command[2] not in pages:
            raise Refused(BAD_FIELD)
        page = pages[command[2]]
        return struct.pack(">BBH", 0, command[2], len(page)) + page


def _write_all(file: int, data: Buffer, at: int) -> None:
    while len(data):
        done = os.pwrite(file, data, at)
        at += done
        data = data[done:]
