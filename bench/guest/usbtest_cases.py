# SPDX-License-Identifier: BSD-2-Clause
"""Runs cases of the kernel's USB test driver (drivers/usb/misc/usbtest.c)."""

import array
import errno
import fcntl
import os
import struct
import time

USBTEST_REQUEST = 0xC01C5564
"""_IOWR('U', 100, struct usbtest_param_32)."""
USBDEVFS_IOCTL = 0xC0105512


def run(node: str, cases: str) -> None:
    """Print (number, "ok" or the error's name, seconds) for each case as it ends, and then `end`.

    cases: separated by spaces; each is number,iterations,length,vary,pieces.
    """
    file = os.open(node, os.O_RDWR)
    for case in cases.split():
        words = [int(word) for word in case.split(",")]
        began = time.monotonic()
        result = run_case(file, words)
        print((words[0], result, round(time.monotonic() - began, 2)), flush=True)
    print("end")


def run_case(file: int, words: list[int]) -> str:
    """`ok`, or the name of the error."""
    block = array.array("I", [*words, 0, 0])
    request = struct.pack("=iIQ", 0, USBTEST_REQUEST, block.buffer_info()[0])
    try:
        fcntl.ioctl(file, USBDEVFS_IOCTL, request)
    except OSError as error:
        number = error.errno or 0
        return errno.errorcode.get(number, str(number))
    return "ok"
