# SPDX-License-Identifier: BSD-2-Clause
"""What a client can measure. Prints `name value` lines, in seconds or bytes/s.

`frame` is the mean length of the frames that arrived, counted before the stack merges any: above the MTU, they are
segmented ones. Disks are read to their end, with empty caches and after a pause: the kernel reads ahead of the reader,
so a measurement that stops before the end pays for what it does not count.
"""

import array
import os
import time

from bench.guest.tcp import connect, receive_into
from bench.guest.throughput_server import ECHO, MESSAGE, SEND

MiB, PAGE = 1 << 20, 4096


def route(server: str, port: int, disk: str, rounds: int, size: int) -> None:
    """100 echo times, then TCP and disk throughput in turn."""
    measure_echo(server, port, 100)
    for _ in range(rounds):
        measure_tcp(server, port, size)
        measure_read(disk, size)


def tcp(server: str, port: int, rounds: int, size: int) -> None:
    """TCP throughput."""
    for _ in range(rounds):
        measure_tcp(server, port, size)


def echo(server: str, port: int, times: int) -> None:
    """Echo times."""
    measure_echo(server, port, times)


def read(path: str, size: int) -> None:
    """Read a disk from its start."""
    measure_read(path, size)


def write(path: str, size: int) -> None:
    """Write to a disk from its start."""
    measure_write(path, size)


def disk(path: str, rounds: int, size: int) -> None:
    """Reads and writes of a disk in turn."""
    for _ in range(rounds):
        measure_read(path, size)
        measure_write(path, size)


def roads(server: str, port: int, usb: str, block: str, rounds: int, size: int) -> None:
    """TCP, reads, writes and 200 small reads of two equal disks, one by USB/IP and one as blocks, in turn."""
    for _ in range(rounds):
        measure_tcp(server, port, size)
        for name, disk in (("usb", usb), ("block", block)):
            measure_read(disk, size, f"{name}-read")
            measure_write(disk, size, f"{name}-write")
            measure_small(disk, size, f"{name}-small")


def measure_echo(server: str, port: int, times: int) -> None:
    """Round trips of one message."""
    peer, buffer, seconds = connect(server, port), bytearray(MESSAGE), []
    peer.sendall(ECHO)
    for _ in range(times):
        start, received = time.monotonic(), 0
        peer.sendall(bytes(MESSAGE))
        while received < MESSAGE:
            received += receive_into(peer, buffer)
        seconds.append(time.monotonic() - start)
    peer.close()
    for value in seconds:
        print("echo", value)


def measure_tcp(server: str, port: int, size: int) -> None:
    """Receive `size` bytes; the first MiB does not count."""
    peer, buffer = connect(server, port), bytearray(MiB)
    peer.sendall(SEND)
    received = 0
    while received < MiB:
        received += receive_into(peer, buffer)
    packets, octets = counter("packets"), counter("bytes")
    start, received = time.monotonic(), 0
    while received < size:
        received += receive_into(peer, buffer)
    seconds = time.monotonic() - start
    print("frame", (counter("bytes") - octets) / (counter("packets") - packets))
    peer.close()
    print("tcp", received / seconds)


def counter(name: str) -> int:
    """A receive counter of the guest's network interface."""
    with open("/sys/class/net/eth0/statistics/rx_" + name) as file:
        return int(file.read())


def drop_caches() -> None:
    """Empty the page cache, and pause."""
    with open("/proc/sys/vm/drop_caches", "w") as drop:
        drop.write("3")
    time.sleep(0.5)


def measure_read(disk: str, size: int, name: str = "disk") -> None:
    """Read a disk of `size` bytes from its start."""
    drop_caches()
    file, received, buffer = os.open(disk, os.O_RDONLY), 0, bytearray(MiB)
    start = time.monotonic()
    while received < size and (count := os.readv(file, [buffer])):
        received += count
    print(name, received / (time.monotonic() - start))
    os.close(file)


def measure_write(disk: str, size: int, name: str = "write") -> None:
    """Write `size` bytes from a disk's start, until they are on it."""
    drop_caches()
    file, sent, buffer = os.open(disk, os.O_WRONLY), 0, bytes(MiB)
    start = time.monotonic()
    while sent < size:
        sent += os.write(file, buffer)
    os.fsync(file)
    print(name, sent / (time.monotonic() - start))
    os.close(file)


def measure_small(disk: str, size: int, name: str, times: int = 200) -> None:
    """The median time of reads of 4 KiB at pseudo-random places, one at a time, past the page cache."""
    file, place, seconds = os.open(disk, os.O_RDONLY | os.O_DIRECT), 1, []
    room = array.array("B", bytes(2 * PAGE))
    skip = -room.buffer_info()[0] % PAGE
    page = memoryview(room)[skip : skip + PAGE]
    for _ in range(times):
        place = (place * 1103515245 + 12345) % 2147483648
        start = time.monotonic()
        os.preadv(file, [page], place % (size // PAGE) * PAGE)
        seconds.append(time.monotonic() - start)
    print(name, sorted(seconds)[times // 2])
    os.close(file)
