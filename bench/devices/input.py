# SPDX-License-Identifier: BSD-2-Clause
"""What is done with input devices over the route: input at QEMU's monitor must become events in the client."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.devices.models import Outcome, expect
from bench.devices.rig import Rig
from bench.guest.input_events import EV_ABS, EV_KEY, EV_REL, record
from router.errors import MachineError

KEYBOARD = "0627:0001"

Event = tuple[int, int, int]
"""Type, code and value of an input event (linux/input-event-codes.h)."""

KEYS: tuple[tuple[tuple[str, ...], tuple[Event, ...]], ...] = (
    (("a",), ((EV_KEY, 30, 1), (EV_KEY, 30, 0))),
    (("shift", "b"), ((EV_KEY, 42, 1), (EV_KEY, 48, 1), (EV_KEY, 48, 0), (EV_KEY, 42, 0))),
    (("ret",), ((EV_KEY, 28, 1), (EV_KEY, 28, 0))),
)


def type_keys(rig: Rig) -> Outcome:
    """Keys at QEMU's monitor are events in the client."""
    wanted = [event for _, events in KEYS for event in events]
    finish = rig.start("client", 12, record, count=len(wanted), led=-1, timeout_s=12)
    for keys, _ in KEYS:
        rig.qmp.execute("send-key", keys=[{"type": "qcode", "data": key} for key in keys])
    expect([event for event in finish() if event[0] == EV_KEY], wanted, "keys")
    return Outcome("4 keys pressed and released, one of them shifted: the input events are right and in order")


def keyboard(rig: Rig) -> Outcome:
    """QEMU's keyboard."""
    rig.plug("keyboard")
    rig.wait_attached(KEYBOARD, "usbhid")
    return type_keys(rig)


def point(rig: Rig, kind: str, places: Sequence[tuple[int, int]], count: int) -> list[Event]:
    """Move the pointer by (`rel`) or to (`abs`) each place, and click; the client's events, at most `count`."""
    finish = rig.start("client", 8, record, count=count, led=-1, timeout_s=8)
    for x, y in places:
        moves = [{"type": kind, "data": {"axis": axis, "value": value}} for axis, value in (("x", x), ("y", y))]
        rig.qmp.execute("input-send-event", events=moves)
        time.sleep(0.2)
    for down in (True, False):
        rig.qmp.execute("input-send-event", events=[{"type": "btn", "data": {"button": "left", "down": down}}])
        time.sleep(0.2)
    events: list[Event] = finish()
    return events


CLICK = [(EV_KEY, 0x110, 1), (EV_KEY, 0x110, 0)]


def mouse(rig: Rig) -> Outcome:
    """A mouse: relative movements."""
    rig.plug("mouse")
    rig.wait_attached(KEYBOARD, "usbhid")
    wanted = [(EV_REL, 0, 25), (EV_REL, 1, -13), (EV_REL, 0, -100), (EV_REL, 1, 7), *CLICK]
    expect(point(rig, "rel", ((25, -13), (-100, 7)), len(wanted)), wanted, "movements")
    return Outcome("2 movements and a click: the input events are right and in order")


def tablet(rig: Rig) -> Outcome:
    """A tablet: absolute positions."""
    rig.plug("tablet")
    rig.wait_attached(KEYBOARD, "usbhid")
    wanted = [(EV_ABS, 0, 8192), (EV_ABS, 1, 24576), (EV_ABS, 0, 32767), (EV_ABS, 1, 1), *CLICK]
    expect(point(rig, "abs", ((8192, 24576), (32767, 1)), len(wanted)), wanted, "positions")
    return Outcome("2 positions and a click: the input events are right and in order")


PEN = ((8192, 0, 5040), (24576, 1, 3780), (16384, 0, 5040), (4096, 1, 3780))


def wacom(rig: Rig) -> Outcome:
    """A graphics tablet, which has its own driver."""
    rig.run("client", "modprobe wacom")
    rig.plug("wacom")
    rig.wait_attached("056a:0000", "usbhid")
    # The driver switches to the tablet's own reports a second after it has bound. If a program reads before, QEMU's
    # model no longer takes the pointer's events.
    time.sleep(2)
    events = point(rig, "abs", ((8192, 24576), (16384, 4096)), 64)
    # hw/usb/dev-wacom.c scales 0…32767 to 5040 by 3780.
    wanted = [(EV_ABS, code, value * size // 32767) for value, code, size in PEN]
    missing = [event for event in wanted if event not in events]
    if missing:
        raise MachineError(f"positions {missing} did not arrive, but {events[:8]}")
    return Outcome("2 positions: both are in the input events, scaled to the tablet's 5040 × 3780")
