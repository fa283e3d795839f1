# SPDX-License-Identifier: BSD-2-Clause
"""Answers each key that is pressed on the routed keyboard on the guest's own console, at once."""

import os
import select
import time

from bench.guest.input_events import EV_KEY, EVENT
from bench.guest.sysfs import routed, wait

PRESSED = 1


def answer(count: int, console: str, timeout_s: float) -> None:
    """Print `ready`; then write a line with its number to `console` for each of `count` keys that is pressed."""
    names = wait(lambda: [name for name in routed("/sys/class/input", "/vhci_hcd") if name.startswith("event")], 30)
    files = [os.open("/dev/input/" + name, os.O_RDONLY) for name in names]
    terminal = os.open(console, os.O_WRONLY | os.O_NOCTTY)
    print("ready", flush=True)
    seen, end = 0, time.monotonic() + timeout_s
    while files and seen < count and time.monotonic() < end:
        for file in select.select(files, [], [], 1)[0]:
            for kind, _, value in EVENT.iter_unpack(os.read(file, 64 * EVENT.size)):
                if (kind, value) == (EV_KEY, PRESSED):
                    seen += 1
                    os.write(terminal, b"<key %d>\n" % seen)
    print(f"keys {seen}")
