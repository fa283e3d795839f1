# SPDX-License-Identifier: BSD-2-Clause
"""Control and bulk transfers by usbfs's blocking ioctls (linux/usbdevice_fs.h)."""

import array
import fcntl
import os
import struct

USBDEVFS_CLAIMINTERFACE = 0x8004550F
USBDEVFS_CONTROL, USBDEVFS_BULK = 0xC0185500, 0xC0185502
USBDEVFS_CLEAR_HALT = 0x80045515


def claim(node: str, interface: int) -> int:
    """A descriptor of a device with one of its interfaces claimed."""
    file = os.open(node, os.O_RDWR)
    fcntl.ioctl(file, USBDEVFS_CLAIMINTERFACE, struct.pack("=I", interface))
    return file


def bulk(file: int, endpoint: int, data: bytes, timeout_ms: int = 4000) -> bytes:
    """One transfer: sends `data`, or reads at most as many bytes into its place; the bytes that were transferred."""
    buffer = array.array("B", data)
    address, size = buffer.buffer_info()
    request = bytearray(struct.pack("=III4xQ", endpoint, size, timeout_ms, address))
    count = fcntl.ioctl(file, USBDEVFS_BULK, request)
    return buffer[:count].tobytes()


def control(file: int, kind: int, request: int, value: int, index: int, data: bytes, timeout_ms: int = 4000) -> bytes:
    """A control transfer; `data` as for `bulk`, by the direction in `kind` (bmRequestType)."""
    buffer = array.array("B", data or b"\0")
    address = buffer.buffer_info()[0]
    head = (kind, request, value, index, len(data), timeout_ms, address)
    count = fcntl.ioctl(file, USBDEVFS_CONTROL, bytearray(struct.pack("=BBHHHI4xQ", *head)))
    return buffer[:count].tobytes()


def clear_halt(file: int, endpoint: int) -> None:
    """Ends the halt of an endpoint, at both ends."""
    fcntl.ioctl(file, USBDEVFS_CLEAR_HALT, struct.pack("=I", endpoint))
