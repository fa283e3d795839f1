"""What is done with input devices over the route: what happens at QEMU's monitor must be events in the client."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench import device_programs as programs
from bench.device_models import Outcome
from bench.device_stand import Stand
from router.errors import MachineError

EV_KEY, EV_REL, EV_ABS = 1, 2, 3
KEYBOARD = "0627:0001"

Event = tuple[int, int, int]
"""Type, code and value of an input event (linux/input-event-codes.h)."""

KEYS: tuple[tuple[tuple[str, ...], tuple[Event, ...]], ...] = (
    (("a",), ((EV_KEY, 30, 1), (EV_KEY, 30, 0))),
    (("shift", "b"), ((EV_KEY, 42, 1), (EV_KEY, 48, 1), (EV_KEY, 48, 0), (EV_KEY, 42, 0))),
    (("ret",), ((EV_KEY, 28, 1), (EV_KEY, 28, 0))),
)


def expect(seen: object, wanted: object, what: str) -> None:
    """MachineError when what arrived is not what was sent."""
    if seen != wanted:
        raise MachineError(f"{what}: {str(seen)[:150]} arrived instead of {str(wanted)[:150]}")


def type_keys(stand: Stand) -> Outcome:
    """Keys at QEMU's monitor are events in the client."""
    wanted = [event for _, events in KEYS for event in events]
    finish = stand.begin("client", programs.INPUT, 12, COUNT=len(wanted), LED=None)
    for keys, _ in KEYS:
        stand.qmp.execute("send-key", keys=[{"type": "qcode", "data": key} for key in keys])
    expect([event for event in finish() if event[0] == EV_KEY], wanted, "keys")
    return Outcome("4 keys pressed and released, one of them shifted: the input events are those, in order")


def keyboard(stand: Stand) -> Outcome:
    """QEMU's keyboard."""
    stand.plug("keyboard")
    stand.attached(KEYBOARD, "usbhid")
    return type_keys(stand)


def point(stand: Stand, kind: str, places: Sequence[tuple[int, int]], count: int) -> list[Event]:
    """Move the pointer by (`rel`) or to (`abs`) each place, and click; the client's events, at most `count`."""
    finish = stand.begin("client", programs.INPUT, 8, COUNT=count, LED=None)
    for x, y in places:
        moves = [{"type": kind, "data": {"axis": axis, "value": value}} for axis, value in (("x", x), ("y", y))]
        stand.qmp.execute("input-send-event", events=moves)
        time.sleep(0.2)
    for down in (True, False):
        stand.qmp.execute("input-send-event", events=[{"type": "btn", "data": {"button": "left", "down": down}}])
        time.sleep(0.2)
    events: list[Event] = finish()
    return events


CLICK = [(EV_KEY, 0x110, 1), (EV_KEY, 0x110, 0)]


def mouse(stand: Stand) -> Outcome:
    """A mouse that moves by differences."""
    stand.plug("mouse")
    stand.attached(KEYBOARD, "usbhid")
    wanted = [(EV_REL, 0, 25), (EV_REL, 1, -13), (EV_REL, 0, -100), (EV_REL, 1, 7), *CLICK]
    expect(point(stand, "rel", ((25, -13), (-100, 7)), len(wanted)), wanted, "movements")
    return Outcome("2 movements and a click: the input events are those, in order")


def tablet(stand: Stand) -> Outcome:
    """A tablet that tells where it is."""
    stand.plug("tablet")
    stand.attached(KEYBOARD, "usbhid")
    wanted = [(EV_ABS, 0, 8192), (EV_ABS, 1, 24576), (EV_ABS, 0, 32767), (EV_ABS, 1, 1), *CLICK]
    expect(point(stand, "abs", ((8192, 24576), (32767, 1)), len(wanted)), wanted, "positions")
    return Outcome("2 positions and a click: the input events are those, in order")


def wacom(stand: Stand) -> Outcome:
    """A graphics tablet with a driver of its own."""
    stand.run("client", "modprobe wacom")
    stand.plug("wacom")
    stand.attached("056a:0000", "usbhid")
    # The driver chooses the tablet's own reports a second after it has bound. QEMU's model wants nobody to have read
    # from it before: else it forgets to take part in the mouse's events.
    time.sleep(2)
    events = point(stand, "abs", ((8192, 24576), (16384, 4096)), 64)
    # hw/usb/dev-wacom.c scales 0…32767 to 5040 by 3780.
    wanted = [(EV_ABS, code, value * size // 32767) for value, code, size in PEN]
    missing = [event for event in wanted if event not in events]
    if missing:
        raise MachineError(f"positions {missing} did not arrive, but {events[:8]}")
    return Outcome("2 positions: both are among the input events, scaled to the tablet's 5040 × 3780")


PEN = ((8192, 0, 5040), (24576, 1, 3780), (16384, 0, 5040), (4096, 1, 3780))


def keyboard_behind_hub(stand: Stand) -> Outcome:
    """A keyboard that is plugged into a hub."""
    # QEMU's hub does not always answer again once Linux has suspended it, which it does at once while nothing is in it.
    awake = "echo {} >/sys/module/usbcore/parameters/autosuspend"
    stand.run("server", awake.format(-1))
    stand.on_end(lambda: stand.run("server", awake.format(2)))
    stand.plug("hub")
    stand.qmp.execute("device_add", driver="usb-kbd", bus="usb.0", port="1.1", id="hung")
    stand.on_end(lambda: stand.qmp.execute("device_del", id="hung"))
    stand.attached(KEYBOARD, "usbhid", 30)
    outcome = type_keys(stand)
    return Outcome(f"with hubs kept from suspending, {outcome.done}")
