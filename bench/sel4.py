# SPDX-License-Identifier: BSD-2-Clause
"""The system on seL4 compared with the same system as a split run, one after the other on the same computer.

What limits each figure: for TCP the emulated processor (all guests and seL4 share one thread of QEMU; a split run has a
thread for each guest), for the throttled disk the throttle. Without a throttle the device is the host's page cache, and
"native" would measure a memory copy.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import programs
from bench.guest import offloads, throughput
from bench.report import Row
from bench.route import PORT, measure
from bench.systems import MiB, Progress, build_system, figures, run_in, scratch_disk
from router.control.timeline import Timeline
from router.errors import HostError, MachineError
from router.machines.qemu.running import Run
from router.machines.qemu.session import microkit_run, split_run
from router.machines.qemu.split import SplitRun
from router.machines.qemu.tool import find_qemu
from router.machines.qemu.usb import parse_plugs
from router.pipeline.build import Built

DISK = 16 * MiB
"""Bytes of each disk, all of which are read and written."""
RATES = (2, 4)
"""MiB/s of the throttled disks: less than half of what the route carries on seL4 unthrottled on a quiet computer,
so that the disk and not the emulated processor is the limit. If that holds, both rates give the same ratio."""
IDLE_S = 10.0
"""How long idle guests are watched."""
BOOT_TIMEOUT_S = 300.0
DESCRIPTION = """
system: bench-sel4
board: qemu
microkit: {{config: {config}}}
guests:
  server: {{image: usb-server-tools, memory: {memory} MiB, passthrough: [pcie@3f000000]}}
{clients}
network:
  allow: [client -> server tcp/3240, client -> server tcp/{port}, client -> server icmp]
usb:
  - {{path: 2-1, to: client}}
"""


@dataclass
class Figures:
    """The figures of one run. Rates in MiB/s; up and disk in seconds, echo and ping in ms; idle in % of one core."""

    up: float
    disk: float
    idle: float = 0.0
    echo: float = 0.0
    ping: float = 0.0
    frames: dict[str, float] = field(default_factory=dict)
    """Mean lengths of TCP's frames, in bytes."""
    rates: dict[str, float] = field(default_factory=dict)


def build_bench(folder: Path, clients: int, memory: int, config: str, progress: Progress) -> Built:
    """A server with `clients` clients, the first of which uses the disk in the first USB port."""
    names = ["client", *(f"client{n}" for n in range(2, clients + 1))]
    lines = "\n".join(f"  {name}: {{image: usb-client, memory: {memory} MiB}}" for name in names)
    description = DESCRIPTION.format(memory=memory, clients=lines, port=PORT, config=config)
    built = build_system(folder, description, progress)
    if built.loader_image is None:
        raise HostError("there is no Microkit SDK to make loader.img with", hint="router doctor says how to get one")
    return built


def processes(system: Run) -> set[int]:
    """The processes of the run's guests and switch."""
    own = {guest.child.pid for guest in system.guests.values()}
    if isinstance(system, SplitRun) and system.switch.pid is not None:
        own.add(system.switch.pid)
    return own


def processor_seconds(pids: set[int]) -> float:
    """User and system time so far (proc(5), stat, fields 14 and 15)."""
    rows = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(row[11]) + int(row[12]) for row in rows) / os.sysconf("SC_CLK_TCK")


def idle_share(system: Run) -> float:
    """The processor time that idle guests take, in per cent of one core."""
    time.sleep(5)
    before, start = processor_seconds(processes(system)), time.monotonic()
    time.sleep(IDLE_S)
    return 100 * (processor_seconds(processes(system)) - before) / (time.monotonic() - start)


def all_up(system: Run) -> float:
    """Seconds from the start of the run until the last guest is in user space."""
    return max(event.seconds for event in system.timeline.events if event.name == "userspace")


def medians(system: Run, guest: str, command: str) -> dict[str, float]:
    """Medians by name of what a guest's program prints."""
    found = figures(run_in(system.execute, guest, command, 900), guest)
    return {name: statistics.median(values) for name, values in found.items()}


def switch_offloads(system: Run, on: bool) -> None:
    """Switch all offloads of the network interfaces on or off, at both ends."""
    for guest in ("server", "client"):
        run_in(system.execute, guest, programs.command(offloads.switch, on=on), 60)


def plain_tcp(system: Run, found: Figures, rounds: int) -> None:
    """TCP without any offload. MachineError when frames above the MTU show that one is still on."""
    switch_offloads(system, False)
    server = str(system.plan.guest("server").address)
    command = programs.command(throughput.tcp, server=server, port=PORT, rounds=rounds, size=8 * MiB)
    seen = medians(system, "client", command)
    switch_offloads(system, True)
    found.rates["plain"], found.frames["plain"] = seen["tcp"] / MiB, seen["frame"]
    if seen["frame"] > system.plan.vswitch.mtu + 14:
        raise MachineError(f"frames of {seen['frame']:.0f} bytes on average, with all offloads switched off")


def ping(system: Run) -> float:
    """The mean of 20 round trips of ICMP echo, in milliseconds."""
    address = system.plan.guest("server").address
    code, output = system.execute("client", f"ping -q -c 20 -i 0.2 {address}", 60)
    figures = re.search(rb"= [\d.]+/([\d.]+)/[\d.]+ ms", output)
    if code or figures is None:
        raise MachineError(f"ping failed: {output.decode(errors='replace')[-300:]}")
    return float(figures[1])


def throttled(system: Run, found: Figures, rounds: int, progress: Progress) -> None:
    """The disk in the first USB port through the route, and an equal one in the second that the server itself uses.

    Both by the same method: same throttle, whole disk, empty caches, after a pause that empties the throttle's bucket
    (0.1 s of the rate, QEMU's util/throttle.c).
    """
    system.execute("server", "modprobe usb-storage; modprobe sd_mod; until true </dev/sda; do sleep 0.2; done", 30)
    for rate in RATES:
        for plug in ("plug1", "plug2"):
            command = f"block_set_io_throttle {plug} {rate * MiB} 0 0 0 0 0"
            # QEMU's human monitor reports an error as output.
            if said := system.guests["server"].qmp.execute("human-monitor-command", command_line=command):
                raise MachineError(f"QEMU refuses {command}: {said.strip()}")
        for name, guest in (("native", "server"), ("routed", "client")):
            progress(f"disk at {rate} MiB/s, {name}: {rounds} reads and writes of {DISK // MiB} MiB")
            command = programs.command(throughput.disk, path="/dev/sda", rounds=rounds, size=DISK)
            seen = medians(system, guest, command)
            found.rates |= {f"{name} read {rate}": seen["disk"] / MiB, f"{name} write {rate}": seen["write"] / MiB}


def measure_run(system: Run, rounds: int, progress: Progress) -> Figures:
    """Wait for a run to be up, and measure it."""
    system.wait_ready(BOOT_TIMEOUT_S)
    found = Figures(up=all_up(system), disk=system.timeline.seen("client", "disk")[0].seconds)
    progress(f"processor time of idle guests, {IDLE_S:.0f} s")
    found.idle = idle_share(system)
    progress("20 pings")
    found.ping = ping(system)
    progress(f"TCP with offloads and the unthrottled disk, rounds: {rounds}")
    route = measure(system.execute, system.plan, rounds=rounds, size=DISK)
    found.echo, found.frames["tcp"] = route.echo_ms, route.frame
    found.rates["tcp"], found.rates["disk"] = statistics.median(route.tcp), statistics.median(route.disk)
    progress(f"TCP without offloads, rounds: {rounds}")
    plain_tcp(system, found, rounds)
    throttled(system, found, max(3, rounds), progress)
    return found


def conditions() -> tuple[str, ...]:
    """The conditions of the measured systems."""
    version = ".".join(map(str, find_qemu().version))
    return (
        f"QEMU {version} TCG",
        "cortex-a53, 1 vCPU and 512 MiB a guest",
        "MTU 1500",
        f"disks of {DISK // MiB} MiB; throttled ones have {' and '.join(map(str, RATES))} MiB/s",
    )


def compare(rounds: int, config: str, progress: Progress) -> Iterator[Row]:
    """The figures: on seL4 in that configuration, then as a split run, then four guests on seL4."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        built = build_bench(folder, 1, 512, config, progress)
        image = built.loader_image
        assert image is not None
        yield Row("loader.img, two guests", image.size / 1e6, "MB")
        for program, each in image.programs.items():
            yield Row(f"  {program}, text and data", each.loaded / 1024, "KiB")
        disks = [f"storage:{scratch_disk(folder / f'disk{n}.img', DISK)}" for n in (1, 2)]
        found = []
        for label, run in (("seL4", microkit_run), ("split run", split_run)):
            progress(f"{label}: booting two guests")

            def step(text: str, label: str = label) -> None:
                progress(f"{label}: {text}")

            with run(built, parse_plugs(disks), folder / label, Timeline()) as system:
                found.append(measure_run(system, rounds, step))
        yield from rows(*found)
    yield Row("four guests of 256 MiB, all up", four_guests(config, progress), "s", "seL4")


def rows(sel4: Figures, split: Figures) -> Iterator[Row]:
    """The figures of both, in pairs."""

    def pair(name: str, unit: str, one: float, other: float) -> Iterator[Row]:
        yield Row(name, one, unit, "seL4")
        yield Row(name, other, unit, "split run")

    rate = "MiB/s"
    yield from pair("start to both guests' user space", "s", sel4.up, split.up)
    yield from pair("start to the disk in the client", "s", sel4.disk, split.disk)
    yield from pair("host processor while both guests idle", "%", sel4.idle, split.idle)
    yield from pair("48-byte TCP round trip, median of 100", "ms", sel4.echo, split.echo)
    yield from pair("ping, mean of 20", "ms", sel4.ping, split.ping)
    for key, name in (("tcp", "TCP with offloads"), ("plain", "TCP without offloads, at both ends")):
        yield from pair(name, rate, sel4.rates[key], split.rates[key])
        yield from pair(f"  {name}, mean frame", "B", sel4.frames[key], split.frames[key])
    yield from pair("USB disk through the route, unthrottled read", rate, sel4.rates["disk"], split.rates["disk"])
    share = [100 * each.rates["disk"] / each.rates["tcp"] for each in (sel4, split)]
    yield from pair("  unthrottled read, of TCP in the same run", "%", *share)
    for limit in RATES:
        for verb in ("read", "write"):
            native, routed = f"native {verb} {limit}", f"routed {verb} {limit}"
            for key in (native, routed):
                name = f"USB disk at {limit} MiB/s, {key.rpartition(' ')[0]}"
                yield from pair(name, rate, sel4.rates[key], split.rates[key])
            share = [100 * each.rates[routed] / each.rates[native] for each in (sel4, split)]
            yield from pair(f"  routed {verb} at {limit} MiB/s, of native", "%", *share)


def four_guests(config: str, progress: Progress) -> float:
    """Seconds until a server and three clients on seL4 are all in user space."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        built = build_bench(Path(name), 3, 256, config, progress)
        progress("seL4: booting four guests")
        with microkit_run(built, (), Path(name) / "logs", Timeline()) as system:
            system.wait_ready(BOOT_TIMEOUT_S)
            return all_up(system)
