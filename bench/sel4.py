"""The system on seL4 beside the same system as a split run, one after the other on the same computer.

`router bench sel4` prints a row for each figure, seL4 first. What bounds each figure: the emulated processor
for TCP (all guests and seL4 share one thread of QEMU, the split run has a thread for each guest), the throttle for the
disk rows that say so. The throttle is what an emulated processor carries beside everything else: without one, the
device is the host's page cache, and "native" measures a memory copy.
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

from bench.guest_programs import DISK_ONLY, OFFLOADS, TCP_ONLY, shell
from bench.route import PORT, measure, scratch_disk
from router import files
from router.control.timeline import Timeline
from router.description.load import load
from router.errors import HostError, MachineError
from router.machines.qemu.running import Run
from router.machines.qemu.session import microkit_run, split_run
from router.machines.qemu.split import SplitRun
from router.machines.qemu.tool import find_qemu
from router.machines.qemu.usb import parse_plugs
from router.pipeline.build import Built, build
from router.pipeline.inputs import plan_loaded

MiB = 1 << 20
DISK = 16 * MiB
"""Bytes of each disk. They are read and written to the end."""
RATES = (2, 4)
"""MiB/s of the throttled disks: less than half of what the route carries on seL4 without a throttle on a quiet machine,
so that the disk and not the emulated processor is the limit; two of them, since then both give one ratio."""
IDLE = 10.0
"""Seconds over which idle guests are watched."""
DESCRIPTION = """
system: bench-sel4
board: qemu
microkit: {{config: {config}}}
guests:
  server: {{image: usb-server, memory: {memory} MiB, passthrough: [pcie@3f000000]}}
{clients}
network:
  allow: [client -> server tcp/3240, client -> server tcp/{port}, client -> server icmp]
usb:
  - {{path: 2-1, to: client}}
"""


@dataclass
class Figures:
    """What one way of running gave. Rates in MiB/s, times in seconds or (echo, ping) ms, shares in % of one core."""

    up: float
    disk: float
    idle: float = 0.0
    echo: float = 0.0
    ping: float = 0.0
    frames: dict[str, float] = field(default_factory=dict)
    """Mean lengths of TCP's frames, in bytes."""
    rates: dict[str, float] = field(default_factory=dict)


def build_bench(folder: Path, clients: int, memory: int, config: str = "debug") -> Built:
    """A server with `clients` clients, the first of which uses the disk in the first socket."""
    names = ["client", *(f"client{n}" for n in range(2, clients + 1))]
    lines = "\n".join(f"  {name}: {{image: usb-client, memory: {memory} MiB}}" for name in names)
    path = folder / "bench.yaml"
    path.write_text(DESCRIPTION.format(memory=memory, clients=lines, port=PORT, config=config))
    planned = plan_loaded(load(path), files.cache_folder(), lambda _: None)
    built = build(planned, folder / "build", files.cache_folder(), lambda _: None)
    if built.loader_image is None:
        raise HostError("there is no Microkit SDK to make loader.img with", hint="router doctor says how to get one")
    return built


def processes(system: Run) -> set[int]:
    """What the run's guests, and the switch, run in."""
    own = {guest.child.pid for guest in system.guests.values()}
    if isinstance(system, SplitRun) and system.switch.pid is not None:
        own.add(system.switch.pid)
    return own


def processor_seconds(pids: set[int]) -> float:
    """User and system time so far (proc(5), stat, fields 14 and 15)."""
    rows = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(row[11]) + int(row[12]) for row in rows) / os.sysconf("SC_CLK_TCK")


def idle_share(system: Run) -> float:
    """The share of one core that idle guests take, in per cent."""
    time.sleep(5)
    before, start = processor_seconds(processes(system)), time.monotonic()
    time.sleep(IDLE)
    return 100 * (processor_seconds(processes(system)) - before) / (time.monotonic() - start)


def medians(system: Run, guest: str, program: str, **constants: str | int) -> dict[str, float]:
    """Medians of what a guest's program prints, by name."""
    code, output = system.execute(guest, shell(program, background=False, **constants), 900)
    if code:
        raise MachineError(f"the measurement failed in '{guest}': {output.decode(errors='replace')[-500:]}")
    found: dict[str, list[float]] = {}
    for line in output.decode().splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name, []).append(float(value))
    return {name: statistics.median(values) for name, values in found.items()}


def offloads(system: Run, on: bool) -> None:
    """Switch everything that a network device does for the stack on or off, at both ends."""
    for guest in ("server", "client"):
        code, output = system.execute(guest, shell(OFFLOADS, ON=int(on)), 60)
        if code:
            raise MachineError(f"the offloads of '{guest}' stay as they are: {output.decode(errors='replace')[-300:]}")


def plain_tcp(system: Run, found: Figures, rounds: int) -> None:
    """TCP without any offload. MachineError when frames above the MTU show that some is left."""
    offloads(system, False)
    constants: dict[str, str | int] = {"SERVER": str(system.plan.guest("server").address), "PORT": PORT}
    seen = medians(system, "client", TCP_ONLY, SIZE=8 * MiB, ROUNDS=rounds, **constants)
    offloads(system, True)
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


def throttled(system: Run, found: Figures, rounds: int) -> None:
    """The disk in the first socket through the route beside its twin in the second, which the server uses itself.

    Both by one method: throttled alike, whole disk, empty caches, after a rest in which the throttle's bucket (0.1 s of
    the rate, QEMU's util/throttle.c) has emptied.
    """
    system.execute("server", "modprobe usb-storage; modprobe sd_mod; until true </dev/sda; do sleep 0.2; done", 30)
    for rate in RATES:
        for plug in ("plug1", "plug2"):
            command = f"block_set_io_throttle {plug} {rate * MiB} 0 0 0 0 0"
            # What is wrong with a command of people's monitor is told as what it prints.
            if said := system.guests["server"].qmp.execute("human-monitor-command", command_line=command):
                raise MachineError(f"QEMU refuses {command}: {said.strip()}")
        for name, guest in (("native", "server"), ("routed", "client")):
            seen = medians(system, guest, DISK_ONLY, DISK="/dev/sda", SIZE=DISK, ROUNDS=rounds)
            found.rates |= {f"{name} read {rate}": seen["disk"] / MiB, f"{name} write {rate}": seen["write"] / MiB}


def watch(system: Run, rounds: int) -> Figures:
    """Bring a run up and measure it."""
    system.wait_ready(300)
    ups = [event.seconds for event in system.timeline.events if event.name == "userspace"]
    found = Figures(up=max(ups), disk=system.timeline.seen("client", "disk")[0].seconds)
    found.idle = idle_share(system)
    found.ping = ping(system)
    route = measure(system.execute, system.plan, rounds=rounds, size=DISK)
    found.echo, found.frames["tcp"] = route.echo_ms, route.frame
    found.rates["tcp"], found.rates["disk"] = statistics.median(route.tcp), statistics.median(route.disk)
    plain_tcp(system, found, rounds)
    throttled(system, found, max(3, rounds))
    return found


def conditions() -> tuple[str, ...]:
    """Of the measured systems."""
    version = ".".join(map(str, find_qemu().version))
    return (
        f"QEMU {version} TCG",
        "cortex-a53, 1 vCPU and 512 MiB a guest",
        "MTU 1500",
        f"disks of {DISK // MiB} MiB, throttled to {' and '.join(map(str, RATES))} MiB/s where so said",
    )


def compare(rounds: int = 3, config: str = "debug") -> Iterator[tuple[str, str]]:
    """Rows of name and figures: on seL4 in that configuration, then split."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        built = build_bench(folder, 1, 512, config)
        image = built.loader_image
        assert image is not None
        yield "loader.img, two guests", f"{image.size / 1e6:.1f} MB (SDK {image.sdk} {image.config})"
        yield "programs, text and data", image.program_summary()
        disks = [f"storage:{scratch_disk(folder / f'disk{n}.img', DISK)}" for n in (1, 2)]
        quiet = folder / "events"
        figures = []
        for run in (microkit_run, split_run):
            with quiet.open("a") as out:
                logs = folder / run.__name__
                with run(built, parse_plugs(disks), logs, Timeline(out=out)) as system:
                    figures.append(watch(system, rounds))
        yield from rows(*figures)
    yield "four guests of 256 MiB, all up", f"{four_guests(config):.1f} s"


def rows(sel4: Figures, split: Figures) -> Iterator[tuple[str, str]]:
    """The figures of both, side by side."""

    def row(label: str, form: str, one: float, other: float) -> tuple[str, str]:
        return label, f"{form.format(one):<14} split {form.format(other)}"

    rate = "{:.1f} MiB/s"
    yield row("start to both guests' user space", "{:.1f} s", sel4.up, split.up)
    yield row("start to the disk in the client", "{:.1f} s", sel4.disk, split.disk)
    yield row("host processor while both guests idle", "{:.1f} %", sel4.idle, split.idle)
    yield row("48-byte TCP round trip, median of 100", "{:.2f} ms", sel4.echo, split.echo)
    yield row("ping, mean of 20", "{:.2f} ms", sel4.ping, split.ping)
    for key, label in (("tcp", "TCP with offloads"), ("plain", "TCP without, at both ends")):
        yield row(label, rate, sel4.rates[key], split.rates[key])
        yield row("  mean frame on the virtual wire", "{:.0f} B", sel4.frames[key], split.frames[key])
    yield row("USB disk through the route, unthrottled read", rate, sel4.rates["disk"], split.rates["disk"])
    share = [100 * each.rates["disk"] / each.rates["tcp"] for each in (sel4, split)]
    yield row("  of TCP in the same run", "{:.0f} %", *share)
    for rate_now in RATES:
        for verb in ("read", "write"):
            native, routed = f"native {verb} {rate_now}", f"routed {verb} {rate_now}"
            for key in (native, routed):
                yield row(
                    f"USB disk at {rate_now} MiB/s, {key.rpartition(' ')[0]}", rate, sel4.rates[key], split.rates[key]
                )
            share = [100 * each.rates[routed] / each.rates[native] for each in (sel4, split)]
            yield row(f"  routed {verb} of native", "{:.0f} %", *share)


def four_guests(config: str) -> float:
    """Seconds until a server and three clients on seL4 are all in user space."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name, (Path(name) / "events").open("w") as out:
        built = build_bench(Path(name), 3, 256, config)
        with microkit_run(built, (), Path(name) / "logs", Timeline(out=out)) as system:
            system.wait_ready(180)
            return max(event.seconds for event in system.timeline.events if event.name == "userspace")
