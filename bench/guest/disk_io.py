# SPDX-License-Identifier: BSD-2-Clause
"""Reads and writes of the attached disk: O_DIRECT, one at a time. Prints `name value`, in seconds."""

import array
import os
import time

from bench.guest.usbip_peer import attached_disk

MiB, PAGE = 1 << 20, 4096


def measure(sequential: int, random: int, size: int) -> None:
    """`sequential` reads and as many writes of 1 MiB, `random` reads of 4 KiB at pseudo-random places below `size`."""
    room = array.array("B", bytes(MiB + PAGE))
    skip = -room.buffer_info()[0] % PAGE
    large = memoryview(room)[skip : skip + MiB]
    small = large[:PAGE]
    file = os.open("/dev/" + attached_disk(), os.O_RDWR | os.O_DIRECT)
    os.preadv(file, [large], 0)
    start = time.monotonic()
    for number in range(sequential):
        os.preadv(file, [large], number * MiB)
    print("sequential", time.monotonic() - start)
    start = time.monotonic()
    for number in range(sequential):
        os.pwritev(file, [large], number * MiB)
    print("write", time.monotonic() - start)
    latencies, place, blocks = [], 1, size // PAGE
    begin = time.monotonic()
    for _ in range(random):
        place = (place * 1103515245 + 12345) % 2147483648
        start = time.monotonic()
        os.preadv(file, [small], place % blocks * PAGE)
        latencies.append(time.monotonic() - start)
    print("random", time.monotonic() - begin)
    print("read latency", sorted(latencies)[random // 2])
