# SPDX-License-Identifier: BSD-2-Clause
"""What the system on seL4 does for each thing that a user wants of it, in counts and not in seconds.

QEMU counts instructions instead of reading a clock (VIRTUAL), so that other load changes little: what still varies is
when the host's disk answers. Each thing is done few and many times, and the difference is divided: starting the guest's
program, and what goes on in the background, cancels out.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import programs
from bench.counters import VIRTUAL, Counters, Counts, difference, header, meanings, total
from bench.guest import echo, throughput, throughput_server
from bench.report import Row
from bench.systems import MiB, Progress, build_system, run_in, scratch_disk
from router.control.timeline import Timeline
from router.errors import HostError, MachineError
from router.machines.qemu.microkit import MicrokitRun
from router.machines.qemu.session import sandboxed
from router.machines.qemu.tool import find_qemu
from router.machines.qemu.usb import parse_plugs
from router.pipeline.build import Built

PORT = 5001
DISK = 16 * MiB
TIMEOUT_S = 400.0
"""For the boot, and for each program in a guest: by this computer's clock, which may be busy."""
IDLE_S = 10
DESCRIPTION = f"""
system: bench-counts
board: qemu
microkit: {{{{config: {{config}}}}}}
guests:
  server: {{{{image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}}}}
  client: {{{{image: usb-client, memory: 256 MiB}}}}
network:
  transport: {{transport}}
  allow: [client -> server {{transport}}/3240, client -> server {{transport}}/{PORT}]
usb:
  - {{{{class: mass-storage, to: client}}}}
"""
DAEMON_CALLS = r"""
for each in /proc/[0-9]*; do
    case $(tr '\0' ' ' <$each/cmdline) in *usbip.py\ serve*) cat $each/io ;; esac
done 2>/dev/null
"""
"""proc(5): how often the daemon has read and written; its other system calls are counted nowhere."""
BOOT, IDLE, ECHO, TCP, READ, WRITE, SMALL, ATTACH = (
    *("boot", "idle second", "48-byte round trip", "MiB of TCP"),
    *("MiB read from the disk", "MiB written to the disk", "4 KiB read from the disk", "hot-plug of a disk"),
)


def vmms(counts: Counts) -> Counts:
    """The counts of the VMMs alone."""
    return {name: each for name, each in counts.items() if name.startswith("vmm_")}


@dataclass(frozen=True)
class Measure:
    """One figure out of the counts."""

    name: str
    unit: str
    of: Callable[[Counts], float]


MEASURES = (
    Measure("traps", "", lambda c: total(c, "TRAP_")),
    Measure("traps of the early console", "", lambda c: total(c, "TRAP_EARLY")),
    Measure("traps of virtio devices", "", lambda c: total(c, "TRAP_NET", "TRAP_CONSOLE")),
    Measure("virtual interrupts", "", lambda c: total(c, "INJECTED")),
    Measure("guest sleeps", "", lambda c: total(c, "SLEEPS")),
    Measure("notifications", "", lambda c: total(c, "TO_")),
    Measure("calls to the timer", "", lambda c: c["timer"]["TIMER_CALLS"]),
    Measure("frames", "", lambda c: total(vmms(c), "FRAMES_OUT")),
    Measure("bytes copied", "KiB", lambda c: total(c, "BYTES_OUT", "BYTES_IN", "LOADED_BYTES") / 1024),
    Measure("TLB flushes", "", lambda c: c["qemu"]["TLB_FLUSHES"]),
    Measure("ticks of 16 ns in traps", "", lambda c: total(c, "TICKS_TRAPS")),
)


WAITING = frozenset({WRITE, ATTACH})
"""Phases in which guests wait for this computer's disk, or for the next look at whether something has come: the guest's
clock goes on meanwhile, and so do all counts but those of MOVED."""
MOVED = frozenset({"frames", "bytes copied"})


def build_counted(folder: Path, config: str, progress: Progress, transport: str = "tcp") -> Built:
    """The system that is counted. HostError without an SDK."""
    built = build_system(folder, DESCRIPTION.format(config=config, transport=transport), progress)
    if built.loader_image is None:
        raise HostError("there is no Microkit SDK to make loader.img with", hint="router doctor says how to get one")
    return built


class Counting:
    """A running system whose counts are read around what it does."""

    def __init__(self, system: MicrokitRun, folder: Path, progress: Progress) -> None:
        self.system = system
        self._counters = Counters(system, folder)
        self._progress = progress
        self._server = system.plan.guest("server")
        self.phases: dict[str, Counts] = {BOOT: self._counters.read()}
        self.daemon: dict[str, float] = {}

    def during(self, guest: str, command: str) -> Counts:
        """What is counted while a command runs in a guest."""
        before = self._counters.read()
        run_in(self.system.execute, guest, command, TIMEOUT_S)
        return difference(before, self._counters.read())

    def slope(self, phase: str, few: int, many: int, command: Callable[[int], str]) -> None:
        """Note what one more of a thing takes, out of runs with few and with many of them."""
        self._progress(f"{phase}: {few} and {many}")
        calls = self._daemon_calls()
        low = self.during("client", command(few))
        middle = self._daemon_calls()
        high = self.during("client", command(many))
        self.daemon[phase] = (self._daemon_calls() - middle - (middle - calls)) / (many - few)
        self.phases[phase] = per(low, high, many - few)

    def _daemon_calls(self) -> int:
        shown = run_in(self.system.execute, "server", DAEMON_CALLS, TIMEOUT_S)
        found = re.findall(r"^sysc[rw]: (\d+)$", shown, re.MULTILINE)
        if not found:
            raise MachineError("the server's kernel does not count the daemon's calls", hint=shown[-300:])
        return sum(map(int, found))

    def idle(self) -> None:
        """Note what a second without work takes."""
        self.slope(IDLE, 0, IDLE_S, lambda seconds: f"sleep {seconds}")

    def traffic(self) -> None:
        """Note round trips, TCP where the guests have it, and the disk."""
        vsock, to = self._server.cid is not None, self._server.peer
        of_echo, of_tcp = (
            programs.command(echo.serve, vsock=vsock, port=PORT),
            programs.command(throughput_server.serve, port=PORT),
        )
        run_in(self.system.execute, "server", programs.background(of_echo if vsock else of_tcp), TIMEOUT_S)

        def round_trips(times: int) -> str:
            measure = echo.measure if vsock else throughput.echo
            return programs.command(measure, server=to, port=PORT, times=times)

        def tcp(mebibytes: int) -> str:
            return programs.command(throughput.tcp, server=to, port=PORT, rounds=1, size=mebibytes * MiB)

        def read(mebibytes: int) -> str:
            return programs.command(throughput.read, path="/dev/sda", size=mebibytes * MiB)

        def write(mebibytes: int) -> str:
            return programs.command(throughput.write, path="/dev/sda", size=mebibytes * MiB)

        def small(times: int) -> str:
            return programs.command(throughput.measure_small, disk="/dev/sda", size=DISK, name="small", times=times)

        self.slope(ECHO, 50, 250, round_trips)
        if not vsock:
            self.slope(TCP, 1, 5, tcp)
        self.slope(READ, 2, 10, read)
        self.slope(WRITE, 2, 10, write)
        self.slope(SMALL, 20, 120, small)

    def hot_plug(self, disk: Path) -> None:
        """Note what it takes to pull a disk out and plug it in again, until the client has it."""
        self._progress(ATTACH)
        assert self.system.usb is not None
        before = self._counters.read()
        self.system.usb.unplug(1)
        self._until("[ ! -e /sys/block/sda ]")
        self.system.usb.plug(f"storage:{disk}")
        self._until("true </dev/sda")
        self.phases[ATTACH] = difference(before, self._counters.read())

    def _until(self, test: str) -> None:
        wait = f"n=0; until {test}; do n=$((n+1)); [ $n -lt 100 ] || exit 1; sleep 0.2; done 2>/dev/null"
        run_in(self.system.execute, "client", wait, TIMEOUT_S)


def per(low: Counts, high: Counts, units: int) -> Counts:
    """The difference of two runs, for each unit."""
    return {
        domain: {name: (value - low[domain][name]) / units for name, value in counts.items()}
        for domain, counts in high.items()
    }


def counted(folder: Path, config: str, progress: Progress, transport: str = "tcp") -> Counting:
    """Boot the system, let it do all of it, and stop it."""
    built = build_counted(folder, config, progress, transport)
    assert built.loader_image is not None
    disk = scratch_disk(folder / "disk.img", DISK)
    qemu, plugs = find_qemu(), parse_plugs([f"storage:{disk}"])
    words = (*sandboxed(qemu), *VIRTUAL)
    progress("booting two guests on seL4")
    run = MicrokitRun(built.plan, built.loader_image.path, qemu, folder / "logs", Timeline(), plugs, words, seeds=False)
    with run as system:
        system.wait_ready(TIMEOUT_S)
        counting = Counting(system, folder, progress)
        counting.idle()
        counting.traffic()
        counting.hot_plug(disk)
    return counting


def rows(counting: Counting) -> Iterator[Row]:
    """The figures, those that are zero left out; then who wakes up in an idle second, and why."""
    for phase, counts in counting.phases.items():
        for measure in MEASURES:
            if (value := measure.of(counts)) and (phase not in WAITING or measure.name in MOVED):
                yield Row(f"{phase}: {measure.name}", value, measure.unit)
        if phase in counting.daemon:
            yield Row(f"{phase}: the daemon's reads and writes", counting.daemon[phase], "")
    yield from wake_ups(counting)


def wake_ups(counting: Counting) -> Iterator[Row]:
    """How often each domain wakes up in an idle second, by cause."""
    texts = meanings(header())
    for domain, counts in counting.phases[IDLE].items():
        for name, value in counts.items():
            if value > 0 and (name.startswith("BY_") or name in ("TRAP_WAIT", "TRAP_VIRTUAL_TIMER")):
                yield Row(f"{IDLE}: {domain} wakes, {texts[name]}", value, "/s")


def count_all(config: str, transport: str, progress: Progress) -> tuple[Row, ...]:
    """The figures. transport: tcp or vsock."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        return tuple(rows(counted(Path(name), config, progress, transport)))
