# SPDX-License-Identifier: BSD-2-Clause
"""Both ends of a serial line: one inverts every byte and sends it back, the other checks that."""

import fcntl
import os
import select
import time

TCSBRK = 0x5409
"""With argument 1: wait until all output is sent (asm-generic/ioctls.h)."""


def echo_inverted(path: str, count: int, timeout_s: float) -> None:
    """Print `ready`, read `count` bytes, return them with every bit inverted; prints how many came."""
    file = open_raw(path)
    print("ready", flush=True)
    received = receive(file, count, timeout_s)
    send(file, invert(received))
    print(len(received))


def talk(path: str, count: int, timeout_s: float) -> None:
    """Send `count` random bytes; prints (how many came back, whether they are the inverted ones)."""
    file = open_raw(path)
    sent = os.urandom(count)
    send(file, sent)
    received = receive(file, count, timeout_s)
    print((len(received), received == invert(sent)))


def invert(data: bytes) -> bytes:
    """Every bit inverted."""
    return bytes(255 - byte for byte in data)


def open_raw(path: str) -> int:
    """A descriptor of a tty in raw mode."""
    file = os.open(path, os.O_RDWR | os.O_NOCTTY)
    os.system(f"stty -F {path} raw -echo")
    return file


def receive(file: int, count: int, timeout_s: float) -> bytes:
    """`count` bytes or more; fewer after the timeout."""
    received = b""
    end = time.monotonic() + timeout_s
    while len(received) < count and time.monotonic() < end:
        if select.select([file], [], [], 0.2)[0]:
            received += os.read(file, 4096)
    return received


def send(file: int, data: bytes) -> None:
    """Write all of it and wait until it is sent."""
    while data:
        data = data[os.write(file, data) :]
    fcntl.ioctl(file, TCSBRK, 1)
