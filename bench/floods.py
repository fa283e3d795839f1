# SPDX-License-Identifier: BSD-2-Clause
"""What a guest that floods the host costs it: memory, processor and disk, and what its neighbour notices.

A split run of two guests. The attacker floods in one way after another, and each time the host's processes are looked
at a few times a second, while a command runs in the neighbour again and again.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bench import programs
from bench.guest import frame_flood
from bench.report import Row, median
from bench.systems import Progress, build_system, run_in
from router.control.system import MAX_OUTPUT
from router.control.timeline import Timeline
from router.errors import MachineError
from router.files import MAX_LOG_BYTES
from router.machines.qemu.session import split_run
from router.machines.qemu.split import SplitRun

ATTACKER, NEIGHBOUR, PORT = "attacker", "neighbour", 9
BOOT_TIMEOUT_S = 180.0
SAMPLE_S = 0.5
SETTLE_S = 3.0
"""After a flood, for what is still on its way."""
COMMAND_TIMEOUT_S = 120.0
DESCRIPTION = f"""
system: bench-floods
board: qemu
guests:
  {NEIGHBOUR}: {{image: usb-client, memory: 256 MiB}}
  {ATTACKER}: {{image: usb-client, memory: 256 MiB}}
network:
  allow: [{ATTACKER} -> {NEIGHBOUR} udp/{PORT}]
"""
MAX_MEMORY = 32e6
"""Bytes that a flood may add to a process of ours. QEMU's memory is its guest's for the most part, and has no goal."""
MAX_KEPT = MAX_MEMORY + 2 * MAX_OUTPUT
"""The same where a caller asked for a command's whole output, which is put together once it is complete."""
MAX_DISK = 2.0 * MAX_LOG_BYTES
"""Bytes that a flood may add to the logs: it fills one."""
MB = 1e6
CONSOLE, CONTROL = "/dev/hvc0", "/dev/hvc1"
ROUTER, SWITCH, QEMU = "router", "switch", "QEMU"


@dataclass(frozen=True)
class Flood:
    """One way to flood. command: for the attacker's shell, ends after {seconds}; output: of `exec`, what becomes of it.

    output: "stream" hands it on, "keep" asks for it as a whole, None: the command runs in the background.
    """

    name: str
    command: str
    output: str | None = None


def into(device: str, source: str) -> str:
    """A shell command that writes what a program says into a device for {seconds}."""
    # Not through a shell of its own: `timeout` ends one process.
    return f"timeout {{seconds}} {source} >{device}"


USE_MEMORY = "head -c 150m /dev/zero >/tmp/fill; rm /tmp/fill"
"""So that most of the attacker's memory is QEMU's already, and does not count as a flood's."""
ANSWER = "id=$(ls /run/router/agent.*/ | sed -n 1p); piece=$(head -c 1500 /dev/zero | base64 -w 0); " + into(
    CONTROL, 'yes "$id o $piece"'
)
"""The agent itself is slow: a hostile guest answers in its place, as fast as the channel is."""
FORGED = f"router: guest {NEIGHBOUR}: attached 1-1 port 1"
FLOODS = (
    Flood("console, short lines", into(CONSOLE, "yes")),
    Flood("console, no line ends", into(CONSOLE, "tr '\\000' x </dev/zero")),
    Flood(
        "kernel log",
        "echo on >/proc/sys/kernel/printk_devkmsg; "
        "timeout {seconds} sh -c 'while echo \"<0>a line of the log\"; do :; done' >/dev/kmsg",
    ),
    Flood("forged milestones", into(CONSOLE, f"yes '{FORGED}'")),
    Flood("control channel, garbage", into(CONTROL, "cat /dev/urandom")),
    Flood("control channel, forged answers", into(CONTROL, "yes '1 o eWVzCg=='")),
    Flood("frames", ""),
    Flood("exec, output handed on", ANSWER, "stream"),
    Flood("exec, output kept", ANSWER, "keep"),
)
"""In this order. All of them are root's in the guest, whose kernel could do no more to the host than they do."""


@dataclass(frozen=True)
class Sample:
    """Bytes resident and seconds of processor time of each process, by its role; bytes of the logs."""

    memory: Mapping[str, float]
    processor: Mapping[str, float]
    disk: float


def sample(pids: Mapping[str, int], logs: Path) -> Sample:
    """Now."""
    memory, processor = {}, {}
    for role, pid in pids.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # proc(5): utime and stime are fields 14 and 15 of the line, rss the 24th; the first two are cut off.
        processor[role] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        memory[role] = float(int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))
    return Sample(memory, processor, float(sum(path.stat().st_size for path in logs.iterdir())))


@contextlib.contextmanager
def background(work: Callable[[], object]) -> Iterator[None]:
    """Call `work` again and again in a thread while the context lasts."""
    over = threading.Event()

    def repeat() -> None:
        while not over.is_set():
            work()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Floods:
    """Measures floods in a running system."""

    def __init__(self, system: SplitRun, logs: Path, seconds: float) -> None:
        self._system = system
        self._logs = logs
        self._seconds = seconds
        attacker = system.guests[ATTACKER].child.pid
        assert system.switch.pid is not None, "the switch runs"
        self._pids = {ROUTER: os.getpid(), SWITCH: system.switch.pid, QEMU: attacker}

    def idle(self) -> Row:
        """How long a command in the neighbour takes while nothing else happens."""
        return median("idle: a command in the neighbour", "ms", [self._answer() for _ in range(20)])

    def _answer(self) -> float:
        begun = time.monotonic()
        run_in(self._system.execute, NEIGHBOUR, "true", COMMAND_TIMEOUT_S)
        return 1000 * (time.monotonic() - begun)

    def rows(self, flood: Flood) -> Iterator[Row]:
        """Flood for the time, and what it cost."""
        before = sample(self._pids, self._logs)
        frames = self._frames()
        samples, answers, handed_on = [before], [], [0]
        with contextlib.ExitStack() as stack:
            if flood.output is None:
                # The agent must have answered before its channel is flooded.
                command = programs.background(f"sleep 1; {self._command(flood)}")
                run_in(self._system.execute, ATTACKER, command, COMMAND_TIMEOUT_S)
            else:
                stack.enter_context(background(lambda: self._execute(flood, handed_on)))
            begun = time.monotonic()
            while time.monotonic() < begun + self._seconds:
                answers.append(self._answer())
                samples.append(sample(self._pids, self._logs))
                time.sleep(SAMPLE_S)
            after, took = samples[-1], time.monotonic() - begun
        time.sleep(SETTLE_S)
        limit = MAX_KEPT if flood.output == "keep" else MAX_MEMORY
        for role in self._pids:
            grown = max(each.memory[role] for each in samples) - before.memory[role]
            row = Row(f"{flood.name}: memory, most beyond that before", grown / MB, "MB", of=role)
            yield row if role == QEMU else replace(row, goal=f"≤ {limit / MB:.0f} MB", met=grown <= limit)
        disk = max(each.disk for each in samples) - before.disk
        yield Row(f"{flood.name}: logs", disk / MB, "MB", goal=f"≤ {MAX_DISK / MB:.0f} MB", met=disk <= MAX_DISK)
        for role in self._pids:
            used = 100 * (after.processor[role] - before.processor[role]) / took
            yield Row(f"{flood.name}: processor", used, "% of a core", of=role)
        yield median(f"{flood.name}: a command in the neighbour", "ms", answers)
        if not flood.command:
            yield Row(f"{flood.name}: taken by the switch", (self._frames() - frames) / took, "frames/s")
        if flood.output is not None:
            yield Row(f"{flood.name}: output", handed_on[0] / took / MB, "MB/s")

    def _frames(self) -> int:
        return self._system.switch.counters()[ATTACKER].rx_frames

    def _command(self, flood: Flood) -> str:
        if flood.command:
            return flood.command.replace("{seconds}", f"{self._seconds:.0f}")
        address = str(self._system.plan.guest(NEIGHBOUR).address)
        return programs.command(frame_flood.send, address=address, port=PORT, seconds=self._seconds)

    def _execute(self, flood: Flood, handed_on: list[int]) -> None:
        def take(data: bytes) -> None:
            handed_on[0] += len(data)

        with contextlib.suppress(MachineError):  # over the limit, where it is kept
            command, timeout_s = self._command(flood), self._seconds + COMMAND_TIMEOUT_S
            _, kept = self._system.execute(ATTACKER, command, timeout_s, take if flood.output == "stream" else None)
            handed_on[0] += len(kept)
            return
        handed_on[0] += MAX_OUTPUT


def measure(seconds: float, progress: Progress) -> Iterator[Row]:
    """Boot, flood for so many seconds in each way, and stop."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        built = build_system(folder, DESCRIPTION, progress, loader_image=False)
        timeline = Timeline()
        timeline.mute()
        progress("booting two guests")
        with split_run(built, (), folder / "logs", timeline) as system:
            system.wait_ready(BOOT_TIMEOUT_S)
            # As `router run` does all along.
            with background(lambda: system.poll(0.2)):
                floods = Floods(system, folder / "logs", seconds)
                run_in(system.execute, ATTACKER, USE_MEMORY, COMMAND_TIMEOUT_S)
                yield floods.idle()
                for flood in FLOODS:
                    progress(f"{flood.name}, {seconds:.0f} s")
                    yield from floods.rows(flood)
