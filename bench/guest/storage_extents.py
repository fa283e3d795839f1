# SPDX-License-Identifier: BSD-2-Clause
"""Where files lie on their disk. Prints `name start length` lines, in bytes."""

import array
import fcntl
import os

FIEMAP = 0xC020660B
"""include/uapi/linux/fs.h: _IOWR('f', 11, struct fiemap). That struct (linux/fiemap.h) has a head of 4 words of
64 bits, and each extent 7, the first of which are where it is in the file, where on the disk, and how long."""
SYNC = 1
HEAD, EXTENT, COUNT = 4, 7, 500


def show(folder: str) -> None:
    """Of all files of a folder."""
    for name in sorted(os.listdir(folder)):
        path = f"{folder}/{name}"
        if os.path.isfile(path):
            for start, length in extents(path):
                print(name, start, length)


def extents(path: str) -> "list[tuple[int, int]]":
    """(start, length) on the disk of each extent of a file."""
    found: list[tuple[int, int]] = []
    file, place = os.open(path, os.O_RDONLY), 0
    try:
        while True:
            # Start, length, flags and number mapped, room for extents.
            request = array.array("Q", (place, 2**64 - 1 - place, SYNC, COUNT, *bytes(EXTENT * COUNT)))
            fcntl.ioctl(file, FIEMAP, request)
            count = request[2] >> 32
            for number in range(count):
                logical, physical, length = request[HEAD + number * EXTENT : HEAD + number * EXTENT + 3]
                found.append((physical, length))
                place = logical + length
            if not count:
                return found
    finally:
        os.close(file)
