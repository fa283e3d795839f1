# SPDX-License-Identifier: BSD-2-Clause
"""Replaces a device's firmware by usbfs (DFU 1.1)."""

import time

from bench.guest.usbfs import claim, control

OUT, IN = 0x21, 0xA1
DETACH, DNLOAD, UPLOAD, GETSTATUS = 0, 1, 2, 3
OK, DNLOAD_IDLE = 0, 5


def detach(node: str) -> None:
    """Have the application become its loader."""
    control(claim(node, 0), OUT, DETACH, 1000, 0, b"")
    print(True)


def download(node: str, block: int, length: int) -> None:
    """Prints the firmware that the loader has, and then has it take its bytes backwards, in blocks of that size.

    length: of the firmware.
    """
    file = claim(node, 0)
    old = b"".join(control(file, IN, UPLOAD, number, 0, bytes(block)) for number in range((length + block) // block))
    new = old[::-1]
    number = 0
    for number, at in enumerate(range(0, len(new), block)):
        control(file, OUT, DNLOAD, number, 0, new[at : at + block])
        settle(file, DNLOAD_IDLE)
    control(file, OUT, DNLOAD, number + 1, 0, b"")
    status(file)
    print(old)


def settle(file: int, state: int) -> None:
    """Asks until the loader is in that state."""
    for _ in range(10):
        if status(file) == state:
            return
    raise TimeoutError("the loader is still busy")


def status(file: int) -> int:
    """The loader's state, after the time that it asks for; ValueError when it reports an error."""
    answer = control(file, IN, GETSTATUS, 0, 0, bytes(6))
    if answer[0] != OK:
        raise ValueError(f"the loader reports error {answer[0]}")
    time.sleep(int.from_bytes(answer[1:4], "little") / 1000)
    return answer[4]
