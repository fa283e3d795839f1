# SPDX-License-Identifier: BSD-2-Clause
"""Input events (evdev) of the routed devices."""

import os
import select
import struct
import time

from bench.guest.sysfs import routed, wait

EVENT = struct.Struct("16xHHi")
"""struct input_event on 64-bit Linux without its time: type, code, value (linux/input.h)."""
EV_KEY, EV_REL, EV_ABS, EV_LED = 1, 2, 3, 17
AUTOREPEAT = 2


def record(count: int, led: int, timeout_s: float, mark: str = "/vhci_hcd") -> None:
    """Print `ready`, then at most `count` events as (type, code, value). Then light the LED `led`; -1 for none."""
    names = wait(lambda: routed("/sys/class/input", mark), 5)
    files = [os.open("/dev/input/" + name, os.O_RDWR) for name in names if name.startswith("event")]
    print("ready", flush=True)
    seen: list[tuple[int, int, int]] = []
    end = time.monotonic() + timeout_s
    while files and len(seen) < count and time.monotonic() < end:
        for file in select.select(files, [], [], 0.2)[0]:
            for kind, code, value in EVENT.iter_unpack(os.read(file, 64 * EVENT.size)):
                # Left out: ends of reports, scan codes, and the kernel's own key repeats.
                if kind in (EV_KEY, EV_REL, EV_ABS) and (kind, value) != (EV_KEY, AUTOREPEAT):
                    seen.append((kind, code, value))
    if led >= 0:
        for file in files:
            os.write(file, EVENT.pack(EV_LED, led, 1) + EVENT.pack(0, 0, 0))
    print(seen)
