# SPDX-License-Identifier: BSD-2-Clause
"""Bulk transfers by usbfs's blocking ioctls (linux/usbdevice_fs.h)."""

import array
import fcntl
import os
import struct

USBDEVFS_CLAIMINTERFACE = 0x8004550F
USBDEVFS_BULK = 0xC0185502


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
