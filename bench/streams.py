# SPDX-License-Identifier: BSD-2-Clause
"""What a camera and a microphone lose on the way to the client, as a split run and on seL4's one core.

Their data do not wait: a guest that is too slow loses them. A made camera and a made microphone send a packet each
millisecond, whose content is compared. The guests' idle time in /proc/stat says which of them is too slow.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.devices import made, made_streams
from bench.devices.made_streams import BESIDE, FRAMES, MAX_LOST, SECONDS, Film
from bench.devices.rig import MACHINES, TIMEOUT_FACTOR, Rig, build_bench
from bench.guest import pcm
from bench.report import Row, median
from bench.systems import Progress
from bench.usbredir.devices.headset import RATE, Headset
from router.errors import MachineError

PERIODS_MS = (1, 5, 20, 50)
"""Of recording: how often the client's program wakes up."""
QUIET_MS = 20
"""From this period on nothing may be missing."""
LABELS = {"split": "split run", "sel4": "seL4"}
GUESTS = ("server", "client")

Idle = dict[str, tuple[int, int]]
"""Of each guest: ticks in which it was idle, and all."""


def conditions() -> tuple[str, ...]:
    """What is sent."""
    return (
        f"camera: {made_streams.CAMERA}, {FRAMES} frames, {BESIDE} while a disk is read",
        f"microphone: full speed, {RATE} Hz stereo, a packet each millisecond, {SECONDS} s; USB/IP engine kernel",
        "seL4 on one core, configuration release",
    )


def compare(rounds: int, progress: Progress, machines: tuple[str, ...] = tuple(MACHINES)) -> Iterator[Row]:
    """A split run and, where there is an SDK, the same guests on seL4. rounds: measurements of each."""
    for on in machines:
        with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
            folder = Path(name)
            built, _, _ = build_bench(folder, on, progress)
            if on == "sel4" and built.loader_image is None:
                continue
            with Rig(built, folder, on, progress) as rig:
                yield from camera_rows(rig, LABELS[on], rounds)
                rig.reset()
                yield from microphone_rows(rig, LABELS[on], rounds)
                rig.reset()


def ticks(rig: Rig) -> Idle:
    """Of each guest now: user, nice, system, idle, iowait, irq, softirq (Linux, Documentation/filesystems/proc.rst)."""
    found = {}
    for guest in GUESTS:
        values = [int(word) for word in rig.run(guest, "head -n 1 /proc/stat").split()[1:8]]
        found[guest] = (values[3] + values[4], sum(values))
    return found


def busy_rows(name: str, of: str, before: Idle, after: Idle) -> Iterator[Row]:
    """How busy each guest's processors were between two `ticks`."""
    for guest in GUESTS:
        idle, whole = (now - then for now, then in zip(after[guest], before[guest], strict=True))
        yield Row(f"{name}: {guest} busy", 100 * (1 - idle / max(1, whole)), "%", of)


def losses(
    rig: Rig, name: str, of: str, rounds: int, run: Callable[[], float], goal: tuple[str, float] | None
) -> Iterator[Row]:
    """The rows of what `run` returns: per cent that are missing. goal: in words, and what the median may be."""
    before, found = ticks(rig), []
    for number in range(rounds):
        found.append(run())
        rig.note(f"{of}: {name}: {found[-1]:.2f} % missing in round {number + 1}")
    row = median(f"{name}: missing", "%", found)
    words, limit = goal or ("", None)
    met = None if limit is None else statistics.median(found) <= limit
    yield Row(row.name, row.value, row.unit, of, row.samples, words, met)
    yield from busy_rows(name, of, before, ticks(rig))


def camera_rows(rig: Rig, of: str, rounds: int) -> Iterator[Row]:
    """A camera, idle and while the client reads a disk. Frames that come are as they were sent, or it is an error."""
    device = made_streams.attach_camera(rig)

    def share(film: Film) -> float:
        if film.wrong:
            raise MachineError(f"{film.wrong} of {film.frames} frames are not as they were sent", where=of)
        return 100 * film.lost / (film.lost + film.frames)

    def idle() -> float:
        return share(made_streams.capture(rig, device, FRAMES))

    yield from losses(rig, "camera, idle", of, rounds, idle, ("0", 0.0))
    disk = made_streams.attach_disk(rig)

    def reading() -> float:
        try:
            return share(made_streams.capture(rig, device, BESIDE, lambda: made_streams.start_reading(rig, disk)))
        finally:
            made_streams.stop_reading(rig)

    most = 100.0 * MAX_LOST / BESIDE
    goal = (f"<= {most:g} %", most) if of == LABELS["split"] else None
    yield from losses(rig, "camera while a disk is read", of, rounds, reading, goal)


def microphone_rows(rig: Rig, of: str, rounds: int) -> Iterator[Row]:
    """A microphone, idle, in periods of each length."""
    made.attach(rig, Headset(), "snd-usb-audio")
    frames = SECONDS * RATE
    for period in PERIODS_MS:

        def record(period: int = period) -> float:
            came, overruns, gaps = rig.program(
                *("client", 40, pcm.capture),
                rate=RATE,
                frames=frames,
                period=RATE * period // 1000,
                timeout_s=TIMEOUT_FACTOR * 10,
            )
            # What an overrun loses shows in no gap: it counts as a period at least.
            missing = sum(gaps) + overruns * RATE * period // 1000 + frames - came
            return 100 * float(missing) / float(missing + came)

        goal = ("0", 0.0) if period >= QUIET_MS else None
        yield from losses(rig, f"microphone, periods of {period} ms", of, rounds, record, goal)
