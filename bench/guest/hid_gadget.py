# SPDX-License-Identifier: BSD-2-Clause
"""The server's side of a HID gadget."""

import os
import select
import time


def send_reports(path: str, reports: bytes, size: int, expect: bytes, timeout_s: float) -> None:
    """Send input reports of `size` bytes each, then take output reports until `expect` is among them; prints those."""
    file = os.open(path, os.O_RDWR)
    for at in range(0, len(reports), size):
        os.write(file, reports[at : at + size])
    received: list[bytes] = []
    end = time.monotonic() + timeout_s
    while expect not in received and time.monotonic() < end:
        if select.select([file], [], [], 0.2)[0]:
            received.append(os.read(file, 64))
    print(received)
