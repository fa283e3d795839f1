# SPDX-License-Identifier: BSD-2-Clause
"""What is done with made devices that have isochronous endpoints: what is sent and what arrives are compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from bench.devices import made, usbtest
from bench.devices.models import Outcome
from bench.devices.rig import TIMEOUT_FACTOR, Rig
from bench.devices.sound import in_order
from bench.devices.storage import random_image
from bench.guest import pcm, video
from bench.usbredir.devices import camera as camera_device
from bench.usbredir.devices.camera import Camera
from bench.usbredir.devices.headset import A_PACKET, RATE, Headset
from bench.usbredir.devices.source_sink import SourceSink
from router.errors import MachineError

TRIES = 4
"""Other load of this computer makes emulated guests too slow for a stream: the best of so many tries counts."""


def best(rig: Rig, run: Callable[[], int], enough: int = 0) -> tuple[int, int]:
    """The least that `run` returns, and how often it was tried: until it was `enough` or less, or TRIES times."""
    lost: list[int] = []
    while len(lost) < TRIES and min(lost, default=enough + 1) > enough:
        lost.append(run())
        rig.note(f"lost in each try: {lost}")
    return min(lost), len(lost)


def verdict(lost: int, of: int, times: int, enough: int = 0) -> tuple[str, tuple[str, ...]]:
    """For the table: what is the same for both engines, and what is wrong."""
    tries = "" if times == 1 else f" (best of {times} tries)"
    limit = f"at most {enough} missing" if enough else "none missing"
    return (f"{limit}{tries}", ()) if lost <= enough else ("", (f"{lost} of {of} frames are missing{tries}",))


@dataclass(frozen=True)
class Film:
    """What the client saw. wrong: frames that are not as they were sent; lost: those that did not come."""

    frames: int
    wrong: int
    lost: int


def judge_film(seen: list[tuple[int, int, int, bool]], sums: list[int], count: int) -> Film:
    """seen: (number, CRC-32, bytes, flagged) of `count` frames, or fewer; sums: the CRC-32 of each that was sent."""
    wrong = sum(
        flagged or size != camera_device.SIZE or number >= len(sums) or sums[number] != checksum
        for number, checksum, size, flagged in seen
    )
    numbers = [number for number, _, _, _ in seen]
    gaps = sum(abs(after - before - 1) for before, after in itertools.pairwise(numbers))
    return Film(len(seen), wrong, gaps + count - len(seen))


def capture(rig: Rig, device: Camera, count: int, meanwhile: Callable[[], object] = lambda: None) -> Film:
    """Capture `count` frames, or fewer in the time. meanwhile: is called once the camera runs."""
    limit = 2 * count / camera_device.RATE + 10
    finish = rig.start(
        "client",
        limit,
        video.capture,
        width=camera_device.WIDTH,
        height=camera_device.HEIGHT,
        count=count,
        timeout_s=TIMEOUT_FACTOR * limit,
    )
    meanwhile()
    return judge_film(finish(), device.sums, count)


def film(rig: Rig, device: Camera, count: int, meanwhile: Callable[[], object] = lambda: None) -> Film:
    """As `capture`; MachineError when no frames come, or one is wrong."""
    result = capture(rig, device, count, meanwhile)
    if not result.frames or result.wrong:
        raise MachineError(f"of {count} frames {result.frames} arrived, and {result.wrong} are not as they were sent")
    return result


CAMERA = "160 x 120 YUY2, 10 frames/s, 1024 bytes/ms"
FRAMES = 50


def attach_camera(rig: Rig) -> Camera:
    device = Camera()
    rig.run("client", "modprobe uvcvideo", 40)
    made.attach(rig, device, "uvcvideo")
    return device


def camera(rig: Rig) -> Outcome:
    """A camera, while nothing else happens."""
    device = attach_camera(rig)
    lost, times = best(rig, lambda: film(rig, device, FRAMES).lost)
    good, issues = verdict(lost, FRAMES, times)
    return Outcome(", ".join(filter(None, (f"{CAMERA}: {FRAMES} frames, each byte as it was sent", good))), issues)


BESIDE = 100
MAX_LOST = 1
"""Of these frames."""


def attach_disk(rig: Rig) -> str:
    """The path in the client of a routed disk."""
    path, _ = random_image(rig)
    rig.plug(f"storage:{path}")
    return rig.wait_disk()


def start_reading(rig: Rig, disk: str) -> None:
    """Have the client read a disk again and again until `stop_reading`."""
    reading = f"while [ -e /tmp/reading ]; do dd if={disk} of=/dev/null bs=256k iflag=direct; done"
    rig.run("client", f"touch /tmp/reading; ({reading}) >/tmp/reads 2>&1 &")


def stop_reading(rig: Rig) -> None:
    """Let the client end reading."""
    rig.run("client", "rm -f /tmp/reading")


def camera_beside_disk(rig: Rig) -> Outcome:
    """A camera, while the client reads a disk again and again."""
    device = attach_camera(rig)
    disk = attach_disk(rig)
    reads: list[int] = []

    def run() -> int:
        before = rig.disk_bytes(disk)
        try:
            lost = film(rig, device, BESIDE, lambda: start_reading(rig, disk)).lost
        finally:
            stop_reading(rig)
        reads.append(rig.disk_bytes(disk) - before)
        return lost

    lost, times = best(rig, run, MAX_LOST)
    if not min(reads):
        raise MachineError("the disk was not read meanwhile")
    done = f"{CAMERA}, {min(reads) >> 20} MiB of a disk read meanwhile: {BESIDE} frames, each byte as it was sent"
    good, issues = verdict(lost, BESIDE, times, MAX_LOST)
    return Outcome(", ".join(filter(None, (done, good))), issues)


SECONDS = 3
MAX_UNHEARD = 100 * A_PACKET
"""Frames that are still on their way when playing ends."""
MIN_OVERFLOW = 40
"""Packets. QEMU drops 60 or so at once when the guest takes them too late; fewer can only be lost on the way."""


ARECORD = (
    "arecord -q -D hw:{card},0 -t raw -f S16_LE -c 2 -r {rate} --period-size={period} --buffer-size={buffer}"
    " -s {frames} /tmp/recorded"
)
"""Recording by Debian's alsa-utils, which goes on after an overrun."""
BUFFER = 4 * RATE
"""Frames. Linux gives up reading when nothing comes for the time of a buffer."""


def microphone(rig: Rig) -> Outcome:
    """A headset of which only the microphone is used, with arecord."""
    device = Headset()
    made.attach(rig, device, "snd-usb-audio")
    rig.run("client", "ln -sf aplay /usr/bin/arecord")  # a link in Debian's package too
    card = rig.wait_routed("/sys/class/sound", "card[0-9]*").removeprefix("card")
    period, frames = RATE // 50, SECONDS * RATE
    command = ARECORD.format(card=card, rate=RATE, period=period, buffer=BUFFER, frames=frames)

    def record() -> int:
        before = device.packets
        # Where the guests are so slow that nothing comes for the time of a buffer, it ends early.
        said = rig.run("client", f"{command} 2>&1 || true", 20 * SECONDS)
        came, gaps = rig.program("client", 20, pcm.counted, path="/tmp/recorded")
        if not came:
            raise MachineError(f"arecord has nothing: {said}")
        if came > (device.packets - before) * A_PACKET or min(gaps, default=0) < 0:
            raise MachineError(f"the {came} frames are not those that were sent: {gaps[:5]}")
        return min(frames, int(sum(gaps)) + frames - int(came))

    lost, times = best(rig, record)
    good, issues = verdict(lost, SECONDS * RATE, times)
    done = f"arecord: {SECONDS} s of 48 kHz stereo in periods of 20 ms"
    return Outcome(": ".join(filter(None, (done, good))), issues)


def headset(rig: Rig) -> Outcome:
    """A headset that records and plays at once."""
    device = Headset()
    made.attach(rig, device, "snd-usb-audio")

    def record() -> int:
        frames = SECONDS * RATE
        device.played.clear()
        finish = rig.start("client", 40, pcm.transfer, direction="p", rate=RATE, frames=frames)
        before = device.packets
        came, overruns, gaps = rig.program(
            "client", 40, pcm.capture, rate=RATE, frames=frames, period=RATE // 50, timeout_s=TIMEOUT_FACTOR * 10
        )
        if not came or (device.packets - before) * A_PACKET < came:
            raise MachineError(f"{(device.packets - before) * A_PACKET} frames were sent, and {came} arrived")
        strange = [gap for gap in gaps if gap % A_PACKET or gap < MIN_OVERFLOW * A_PACKET]
        if strange:
            raise MachineError(f"the frames are not those that were sent: {strange[:5]} are missing at once")
        lost = int(sum(gaps)) + int(overruns) + frames - int(came)
        played, error, _ = finish()
        heard, jumps = in_order(bytes(device.played))
        if error or not heard:
            raise MachineError(f"of {frames} frames {heard} were played in order: {error}")
        return lost + jumps + max(0, int(played) - heard - MAX_UNHEARD)

    lost, times = best(rig, record)
    good, issues = verdict(lost, SECONDS * RATE, times)
    done = f"recorded and played {SECONDS} s of 48 kHz stereo at once"
    return Outcome(": ".join(filter(None, (done, good))), issues)


UNLINK = tuple(case for case in usbtest.UNLINK if case.number != 24)
"""Case 24 hangs without USB/IP too: QEMU's controller forgets all transfers of an endpoint that is stopped for one."""
GROUPS: usbtest.Groups = ((0, usbtest.PLAIN), (1, usbtest.ISO), (2, usbtest.INTERRUPT), (0, UNLINK))


def source_sink(rig: Rig) -> Outcome:
    """Linux's usbtest with a source and sink that has all kinds of endpoints."""
    devices: list[SourceSink] = []

    def plug_in(rig: Rig) -> None:
        devices.append(SourceSink())
        made.plug(rig, devices[-1])

    outcome = usbtest.both_ways(rig, plug_in, "/pci", GROUPS)
    wrong, packets = devices[-1].wrong, devices[-1].iso_packets
    if wrong or not packets:
        raise MachineError(f"{wrong} bulk transfers came with wrong bytes; {packets} isochronous packets came")
    return outcome
