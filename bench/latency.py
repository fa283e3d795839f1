# SPDX-License-Identifier: BSD-2-Clause
"""From a key that is pressed to the client's answer, idle and while the client reads a disk over the same route.

The key is pressed in the server's emulated keyboard; a program in the client reads the event and writes a line to its
console, which comes back here. So there is one clock, this computer's, and the way back is in each figure.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import programs
from bench.guest import key_echo
from bench.report import Row
from bench.systems import MiB, Progress, build_system, run_in, scratch_disk
from router.control.timeline import Timeline
from router.errors import MachineError
from router.machines.qemu.running import Run
from router.machines.qemu.session import microkit_run, split_run
from router.machines.qemu.usb import parse_plugs
from router.pipeline.build import Built

BOOT_TIMEOUT_S = 400.0
ANSWER_TIMEOUT_S = 20.0
"""For one key: longer than any that counts, so that a lost one is an error."""
HELD_S = 0.02
"""How long a key is down."""
PAUSES_S = (0.03, 0.09)
"""Between two keys, at random: not in step with the keyboard's polling interval."""
FACTOR = 2.0
"""How much longer the 99th percentile may be during a full disk read, in split runs."""
READING = "/tmp/read-disk"
DESCRIPTION = """
system: bench-latency
board: qemu
microkit: {{config: {config}}}
guests:
  server: {{image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}}
  client: {{image: usb-client, memory: 256 MiB}}
usb:
  - {{class: mass-storage, to: client}}
  - {{class: hid, to: client}}
"""


@dataclass(frozen=True)
class Latencies:
    """Milliseconds from key to answer, one for each key."""

    idle: tuple[float, ...]
    busy: tuple[float, ...]
    read: float
    """MiB/s of the disk meanwhile."""

    @property
    def factor(self) -> float:
        """The 99th percentile during a full disk read, over the one of an idle system."""
        return percentile(self.busy, 99) / percentile(self.idle, 99)


def percentile(values: Sequence[float], share: int) -> float:
    """The value that `share` per cent of the values do not exceed, by the nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


class Answers:
    """Listens to the client's console for the answers to keys."""

    def __init__(self) -> None:
        self._text = b""
        self._news = threading.Condition()

    def heard(self, data: bytes) -> None:
        """A piece of the console's output."""
        with self._news:
            self._text = (self._text + data)[-4096:]
            self._news.notify_all()

    def wait(self, number: int, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Wait for the answer to that key; MachineError when it does not come."""
        with self._news:
            if not self._news.wait_for(lambda: b"<key %d>" % number in self._text, timeout_s):
                raise MachineError(f"key {number} did not arrive in the client within {timeout_s:g} s", where="client")


def press(system: Run, down: bool) -> None:
    """Press or release a key of the server's keyboard."""
    key = {"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": "a"}}}
    system.guests["server"].qmp.execute("input-send-event", events=[key])


def keys(system: Run, count: int) -> tuple[float, ...]:
    """Milliseconds from pressing a key to its answer, `count` times."""
    command = programs.command(key_echo.answer, count=count, console="/dev/hvc0", timeout_s=10 * ANSWER_TIMEOUT_S)
    # What an earlier run said there would pass for this one's.
    start_program = "rm -f /tmp/keys.out /tmp/keys.code\n" + programs.script("background", "/tmp/keys", command)
    run_in(system.execute, "client", start_program, 600)
    answers, chance, found = Answers(), random.Random(1), []
    system.listen("client", answers.heard)
    try:
        for number in range(1, count + 1):
            start = time.perf_counter()
            press(system, True)
            answers.wait(number)
            found.append(1000 * (time.perf_counter() - start))
            time.sleep(HELD_S)
            press(system, False)
            time.sleep(chance.uniform(*PAUSES_S))
    finally:
        system.unlisten("client", answers.heard)
    return tuple(found)


def measure(system: Run, count: int, progress: Progress) -> Latencies:
    """Measure in a running system whose client has a keyboard and a disk."""
    # The first keys load what is slow once.
    keys(system, 10)
    progress(f"{count} keys, idle")
    idle = keys(system, count)
    progress(f"{count} keys during a full disk read")
    before = sectors(system)
    began = time.monotonic()
    run_in(system.execute, "client", programs.script("read_disk", READING), 60)
    busy = keys(system, count)
    read = 512 * (sectors(system) - before) / MiB / (time.monotonic() - began)
    run_in(system.execute, "client", f": >{READING}", 60)
    return Latencies(idle, busy, read)


def sectors(system: Run) -> int:
    """How many sectors of the disk the client has read so far (Documentation/block/stat.rst, third field)."""
    return int(run_in(system.execute, "client", "cat /sys/block/sda/stat", 60).split()[2])


def rows(label: str, found: Latencies, *, goal: bool) -> Iterator[Row]:
    """The figures of one run."""
    for state, values in (("idle", found.idle), ("during a full disk read", found.busy)):
        yield Row(f"key to answer, {state}, median", statistics.median(values), "ms", label)
        yield Row(f"key to answer, {state}, 99th percentile", percentile(values, 99), "ms", label)
    met = found.factor <= FACTOR if goal else None
    yield Row("99th percentile during a read, of idle", found.factor, "times", label, goal=f"<= {FACTOR:g}", met=met)
    yield Row("the disk meanwhile", found.read, "MiB/s", label)


def compare(count: int, config: str, progress: Progress) -> Iterator[Row]:
    """A split run and, where there is an SDK, the same system on seL4."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        built = build_system(folder, DESCRIPTION.format(config=config), progress)
        plugs = [f"storage:{scratch_disk(folder / 'disk.img', 32 * MiB)}", "keyboard"]
        kinds: list[tuple[str, Callable[..., Run]]] = [("split run", split_run)]
        if built.loader_image is not None:
            kinds.append(("seL4", microkit_run))
        for label, run in kinds:
            yield from one(label, run, built, plugs, folder, count, progress)


def one(
    label: str,
    run: Callable[..., Run],
    built: Built,
    plugs: list[str],
    folder: Path,
    count: int,
    progress: Progress,
) -> Iterator[Row]:
    """The figures of one way of running."""
    progress(f"{label}: booting two guests")
    with run(built, parse_plugs(plugs), folder / label, Timeline()) as system:
        system.wait_ready(BOOT_TIMEOUT_S)
        yield from rows(label, measure(system, count, lambda text: progress(f"{label}: {text}")), goal=run is split_run)
