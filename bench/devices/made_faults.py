# SPDX-License-Identifier: BSD-2-Clause
"""What is done with made devices that stall, answer oddly, or disappear: the data are right all the same."""

from __future__ import annotations

from bench import programs
from bench.devices import made
from bench.devices.models import Outcome, expect
from bench.devices.rig import Rig
from bench.devices.storage import DISK, digest_of_range, random_image, use_disk
from bench.guest import odd_device, serial_line
from bench.usbredir.devices import faults
from bench.usbredir.devices.faults import Answer, OddDevice, StallingDisk, StallingLine, VanishingDisk
from router.errors import MachineError
from router.usbip.virtual.disk import Disk

LINE_BYTES = 4096


def serial(rig: Rig) -> Outcome:
    """A serial line whose endpoint halts again and again."""
    device = StallingLine()
    made.attach(rig, device, "cdc_acm")
    path = rig.wait_for_paths("client", "/dev/ttyACM*", 5)[0]
    seen = rig.program("client", 40, serial_line.talk, path=path, count=LINE_BYTES, timeout_s=30)
    expect(seen, (LINE_BYTES, True), "bytes back, and whether they are right")
    expect(device.received, LINE_BYTES, "bytes in the device")
    if not device.halts:
        raise MachineError("the device never halted its endpoint")
    done = f"{LINE_BYTES} random bytes, which the device returns inverted, halting its endpoint {device.halts} times: "
    return Outcome(done + "all are right")


def disk(rig: Rig) -> Outcome:
    """A disk whose reads fail, with two stalls each time."""
    path, before = random_image(rig)
    device = StallingDisk(str(path))
    made.attach(rig, device, "usb-storage")
    outcome = use_disk(rig, before, digest_of_range(path))
    if device.cleared < 2 * device.failed or not device.failed:
        raise MachineError(f"{device.failed} reads failed, and {device.cleared} halts were cleared")
    return Outcome(f"{outcome.done}; {device.failed} reads ended with two stalls each, and were tried again")


def vanishing(rig: Rig) -> Outcome:
    """A disk that leaves in the middle of being read, and comes back."""
    path, before = random_image(rig)
    device = VanishingDisk(str(path), DISK // 2 // 512, lambda: plug.become(None))
    plug = made.plug(rig, device)
    rig.wait_attached(f"{device.vid:04x}:{device.pid:04x}", "usb-storage")
    name = rig.wait_disk()
    # Linux ends the read with an error, or as if the disk ended there.
    came = int(rig.run("client", f"dd if={name} bs=64k 2>/dev/null | wc -c", 30))
    if came >= DISK:
        raise MachineError("the whole disk was read, although it had left")
    rig.run("client", programs.script("all_detached"), 40)
    again = Disk(str(path), super_speed=False)
    plug.insert(again)
    rig.wait_attached(f"{again.vid:04x}:{again.pid:04x}", "usb-storage")
    outcome = use_disk(rig, before, digest_of_range(path))
    return Outcome(f"left in the middle of a read, which ended in the client; came back: {outcome.done}")


ASKED = 2 * faults.ODD_SIZE
TIMEOUT_MS, NEVER_MS = 10_000, 1500
KINDS: tuple[tuple[Answer, object], ...] = (
    (Answer.WHOLE, faults.odd_bytes(ASKED)),
    (Answer.SHORT, faults.odd_bytes(faults.SHORT_SIZE)),
    (Answer.EMPTY, b""),
    (Answer.LONG, "EOVERFLOW"),
    (Answer.WHOLE, faults.odd_bytes(ASKED)),
    (Answer.LATE, faults.odd_bytes(ASKED)),
    (Answer.STALL, "EPIPE"),
    (Answer.WHOLE, faults.odd_bytes(ASKED)),
    (Answer.NEVER, "ETIMEDOUT"),
    (Answer.WHOLE, faults.odd_bytes(ASKED)),
)
"""What is asked for, and what comes."""


def odd(rig: Rig) -> Outcome:
    """Short, long, empty, late and no answers."""
    device = OddDevice()
    node = made.attach(rig, device).node
    answers = bytes(answer for answer, _ in KINDS)
    seen = rig.program(
        "client",
        30,
        odd_device.ask,
        node=node,
        endpoint_out=faults.ODD_OUT,
        endpoint_in=faults.ODD_IN,
        answers=answers,
        size=ASKED,
        timeout_ms=TIMEOUT_MS,
        never=Answer.NEVER,
        never_ms=NEVER_MS,
    )
    for number, (answer, wanted) in enumerate(KINDS):
        expect(seen[number], wanted, f"an answer of the kind {answer.name} (number {number})")
    expect(list(dict.fromkeys(device.answered)), list(dict.fromkeys(answer for answer, _ in KINDS)), "answers")
    if not device.cancelled:
        raise MachineError("the transfer that timed out was never cancelled at the device")
    return Outcome(
        "by usbfs: whole, short, empty, too long (EOVERFLOW), late, stalled (EPIPE) and no answers (ETIMEDOUT, and "
        "cancelled at the device), each followed by a whole one that is right"
    )
