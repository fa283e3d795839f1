# SPDX-License-Identifier: BSD-2-Clause
"""Watching what passes: a capture file that Wireshark opens, and each PDU in words.

The file is pcapng (draft-ietf-opsawg-pcapng) with usbmon's packets (LINKTYPE_USB_LINUX_MMAPPED; the header is `struct
mon_bin_hdr` of the kernel's Documentation/usb/usbmon.rst).
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import time
from collections.abc import Callable

from router.errors import HostError
from router.usbip.protocol import urb
from router.usbip.protocol.descriptors import KIND_NAMES
from router.usbip.protocol.device import Device
from router.usbip.runtime.log import log
from router.usbip.runtime.text import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from router.usbip.engines.target import Buffer, Tap

LINKTYPE_USB_LINUX_MMAPPED = 220
SNAP_LENGTH = 1 << 18
MAX_BYTES = 1 << 30
"""Of a file: peers choose how much they transfer."""
# id, type, transfer type, endpoint, device, bus, setup flag, data flag, seconds, microseconds, status, length,
# captured, setup (or error and packet counts), interval, start frame, flags, packets
_MON = struct.Struct("<QBBBBHBBqiiII8siiII")
_MON_ISO = struct.Struct("<iIII")
_BLOCK = struct.Struct("<II")
_PACKET = struct.Struct("<IIIII")
# usbmon's transfer types by the endpoint descriptor's.
_TYPES = (2, 0, 3, 1)
_SUBMITTED, _COMPLETED = ord("S"), ord("C")
_EINPROGRESS = -115


class Capture:
    """A pcapng file; `tap` makes what a session reports to. HostError if the file cannot be made."""

    def __init__(self, path: str) -> None:
        self._ended = False
        self._size = 0
        try:
            # Only its owner may read what others transfer.
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(handle, "wb", buffering=1 << 16)
        except OSError as error:
            raise HostError(f"cannot write the capture: {error.strerror}", None, path) from error
        self._write(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
        # Option 9: times in microseconds.
        self._write(
            1, struct.pack("<HHI", LINKTYPE_USB_LINUX_MMAPPED, 0, SNAP_LENGTH) + struct.pack("<HHB3xHH", 9, 1, 6, 0, 0)
        )

    def _write(self, kind: int, body: bytes) -> None:
        body += bytes(-len(body) % 4)
        size = 12 + len(body)
        self._size += size
        if self._size > MAX_BYTES:
            raise OSError(errno.EFBIG, "it has reached its largest size")
        self._file.write(_BLOCK.pack(kind, size) + body + struct.pack("<I", size))

    def packet(self, data: bytes, original: int, now: float) -> None:
        """One packet; `original` is its length before cutting."""
        if self._ended:
            return
        moment = int(now * 1e6)
        try:
            self._write(6, _PACKET.pack(0, moment >> 32, moment & 0xFFFFFFFF, len(data), original) + data)
        except OSError as error:
            self._fail(error)

    def flush(self) -> None:
        """Brings what was captured to the file. A full disk ends the capture, not what is captured."""
        if self._ended:
            return
        try:
            self._file.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self._ended = True
        log(f"the capture ends: {error_text(error)}")

    def close(self) -> None:
        self.flush()
        self._ended = True
        try:
            self._file.close()
        except OSError:
            # What could not be written before cannot be now.
            return

    def tap(self, device: Device) -> CaptureTap:
        return CaptureTap(self, device)


class CaptureTap:
    """A session's view of the capture."""

    def __init__(self, capture: Capture, device: Device) -> None:
        self._capture = capture
        self._device = device

    def submitted(self, submit: urb.Submit, kind: int) -> None:
        iso = [(offset, length, 0, -18) for offset, length in submit.iso or ()]
        self._packet(_SUBMITTED, submit, kind, _EINPROGRESS, submit.length, submit.data, iso)

    def unlinked(self, unlink: urb.Unlink) -> None:
        """usbmon has no packet for it; the cancelled transfer's end shows."""

    def returned(
        self, submit: urb.Submit, kind: int, status: int, actual: int, data: Buffer, iso: list[urb.IsoPacket] | None
    ) -> None:
        self._packet(_COMPLETED, submit, kind, status, actual, data, iso or [])

    def cancelled(self, unlink: urb.Unlink, submit: urb.Submit | None, kind: int, status: int) -> None:
        if submit and status:
            self._packet(_COMPLETED, submit, kind, urb.ENOENT, 0, b"", [])

    def _packet(
        self,
        event: int,
        submit: urb.Submit,
        kind: int,
        status: int,
        length: int,
        data: Buffer,
        iso: list[urb.IsoPacket],
    ) -> None:
        now = time.time()
        setup, setup_flag = bytes(8), ord("-")
        if kind == 0 and event == _SUBMITTED:
            setup, setup_flag = submit.setup, 0
        elif iso:
            setup = struct.pack("<ii", sum(1 for packet in iso if packet[3]), len(iso))
        packets = b"".join(_MON_ISO.pack(state, offset, size or wanted, 0) for offset, wanted, size, state in iso)
        part = bytes(data[: SNAP_LENGTH - 4096])
        if submit.direction == urb.IN and event == _SUBMITTED:
            data_flag = ord("<")
        elif submit.direction == urb.OUT and event == _COMPLETED:
            data_flag = ord(">")
        else:
            data_flag = 0 if len(part) or not length else ord("=")
        header = _MON.pack(
            submit.seqnum | submit.devid << 32,
            event,
            _TYPES[kind],
            submit.address,
            self._device.devnum & 0x7F,
            self._device.busnum,
            setup_flag,
            data_flag,
            int(now),
            int(now % 1 * 1e6),
            status,
            length,
            len(packets) + len(part),
            setup,
            submit.interval,
            submit.start,
            submit.flags,
            len(iso),
        )
        body = header + packets + part
        self._capture.packet(body, len(header) + len(packets) + len(data), now)


class PduLog:
    """Writes each PDU as one line to a stream (stderr)."""

    def __init__(self, device: Device, write: Callable[[str], object] = sys.stderr.write) -> None:
        self._name = device.busid
        self._write = write
        self._began = time.monotonic()

    def _line(self, text: str) -> None:
        self._write(f"{time.monotonic() - self._began:10.6f} {self._name} {text}\n")

    def submitted(self, submit: urb.Submit, kind: int) -> None:
        way = "IN" if submit.direction else "OUT"
        setup = f" setup {submit.setup.hex()}" if kind == 0 else ""
        packets = f" in {len(submit.iso)} packets" if submit.iso else ""
        self._line(
            f"CMD_SUBMIT #{submit.seqnum} {KIND_NAMES[kind]} {way} endpoint {submit.endpoint} "
            f"{submit.length} bytes{packets}{setup}{_preview(submit.data)}"
        )

    def unlinked(self, unlink: urb.Unlink) -> None:
        self._line(f"CMD_UNLINK #{unlink.seqnum} of #{unlink.target}")

    def returned(
        self, submit: urb.Submit, kind: int, status: int, actual: int, data: Buffer, iso: list[urb.IsoPacket] | None
    ) -> None:
        packets = f" in {len(iso)} packets" if iso else ""
        self._line(f"RET_SUBMIT #{submit.seqnum} status {status} {actual} bytes{packets}{_preview(data)}")

    def cancelled(self, unlink: urb.Unlink, submit: urb.Submit | None, kind: int, status: int) -> None:
        self._line(f"RET_UNLINK #{unlink.seqnum} of #{unlink.target} status {status}")


def _preview(data: Buffer, size: int = 16) -> str:
    if not len(data):
        return ""
    return f": {bytes(data[:size]).hex()}{'…' if len(data) > size else ''}"


class Taps:
    """Several taps as one."""

    def __init__(self, taps: list[Tap]) -> None:
        self._taps = taps

    def submitted(self, submit: urb.Submit, kind: int) -> None:
        for tap in self._taps:
            tap.submitted(submit, kind)

    def unlinked(self, unlink: urb.Unlink) -> None:
        for tap in self._taps:
            tap.unlinked(unlink)

    def returned(
        self, submit: urb.Submit, kind: int, status: int, actual: int, data: Buffer, iso: list[urb.IsoPacket] | None
    ) -> None:
        for tap in self._taps:
            tap.returned(submit, kind, status, actual, data, iso)

    def cancelled(self, unlink: urb.Unlink, submit: urb.Submit | None, kind: int, status: int) -> None:
        for tap in self._taps:
            tap.cancelled(unlink, submit, kind, status)
