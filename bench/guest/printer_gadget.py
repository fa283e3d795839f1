# SPDX-License-Identifier: BSD-2-Clause
"""The server's side of a printer gadget."""

import os
import select
import time


def save(path: str, count: int, paper: str, timeout_s: float) -> None:
    """Print `ready`, save what the printer at `path` receives in the file `paper`; prints how many bytes came."""
    file = os.open(path, os.O_RDWR)
    print("ready", flush=True)
    received = b""
    end = time.monotonic() + timeout_s
    while len(received) < count and time.monotonic() < end:
        if select.select([file], [], [], 0.2)[0]:
            received += os.read(file, 4096)
    with open(paper, "wb") as output:
        output.write(received)
    print(len(received))
