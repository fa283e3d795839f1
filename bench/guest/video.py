# SPDX-License-Identifier: BSD-2-Clause
"""Frames of a camera by V4L2's ioctls (linux/videodev2.h), read into memory of this program."""

import array
import binascii
import fcntl
import os
import select
import struct
import time

from bench.guest.sysfs import routed, wait

S_FMT, REQBUFS, QBUF, DQBUF, STREAMON, STREAMOFF = (
    *(0xC0D05605, 0xC0145608, 0xC058560F, 0xC0585611),
    *(0x40045612, 0x40045613),
)
CAPTURE, USERPTR, NO_FIELD = 1, 2, 1
ERROR = 0x40
"""V4L2_BUF_FLAG_ERROR."""
BUFFERS = 4
BUFFER_SIZE = 88
"""struct v4l2_buffer on 64-bit Linux: index at 0, type 4, used 8, flags 12, memory 60, address 64, length 72."""


def capture(width: int, height: int, count: int, timeout_s: float, mark: str = "/vhci_hcd") -> None:
    """Print `ready`, then a list of (number, CRC-32, bytes, whether the driver flags it) of `count` frames of YUY2.

    number: the first four bytes, little-endian. Fewer frames after the timeout.
    """
    names = wait(lambda: routed("/sys/class/video4linux", mark), 10)
    file = os.open("/dev/" + names[0], os.O_RDWR)
    form = bytearray(208)
    struct.pack_into("<I4xII4sI", form, 0, CAPTURE, width, height, b"YUYV", NO_FIELD)
    fcntl.ioctl(file, S_FMT, form)
    size = 2 * width * height
    fcntl.ioctl(file, REQBUFS, bytearray(struct.pack("<IIIII", BUFFERS, CAPTURE, USERPTR, 0, 0)))
    stores = [array.array("B", bytes(size)) for _ in range(BUFFERS)]

    def queue(index: int) -> None:
        buffer = bytearray(BUFFER_SIZE)
        struct.pack_into("<II", buffer, 0, index, CAPTURE)
        struct.pack_into("<I", buffer, 60, USERPTR)
        struct.pack_into("<QI", buffer, 64, stores[index].buffer_info()[0], size)
        fcntl.ioctl(file, QBUF, buffer)

    for index in range(BUFFERS):
        queue(index)
    fcntl.ioctl(file, STREAMON, struct.pack("<i", CAPTURE))
    print("ready", flush=True)
    seen: list[tuple[int, int, int, bool]] = []
    end = time.monotonic() + timeout_s
    while len(seen) < count and time.monotonic() < end:
        if select.select([file], [], [], 0.5)[0]:
            buffer = bytearray(BUFFER_SIZE)
            struct.pack_into("<II", buffer, 0, 0, CAPTURE)
            struct.pack_into("<I", buffer, 60, USERPTR)
            fcntl.ioctl(file, DQBUF, buffer)
            index, _, used, flags = struct.unpack_from("<IIII", buffer)
            data = stores[index].tobytes()[:used]
            seen.append((int.from_bytes(data[:4], "little"), binascii.crc32(data), used, bool(flags & ERROR)))
            queue(index)
    fcntl.ioctl(file, STREAMOFF, struct.pack("<i", CAPTURE))
    print(seen)
