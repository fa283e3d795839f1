# SPDX-License-Identifier: BSD-2-Clause
"""The same system over TCP and over vsock: round trips, the USB disk, the client's boot and its free memory.

As a split run, and on seL4 where there is an SDK. All are booted in turn, so that a busy computer slows all of them.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import programs
from bench.guest import disk_io, echo, throughput
from bench.report import Row
from bench.systems import MiB, Progress, build_system, figures, run_in, scratch_disk
from router.control.timeline import Timeline
from router.machines.qemu.running import Run
from router.machines.qemu.session import microkit_run, split_run
from router.machines.qemu.usb import parse_plugs
from router.pipeline.build import Built

PORT = 5001
DISK_BYTES = 32 * MiB
ECHOES, SMALL_READS = 300, 400
BOOT_TIMEOUT_S = 180.0
TRANSPORTS = ("tcp", "vsock")
DESCRIPTION = """
system: bench-{transport}
board: qemu
microkit: {{config: {config}}}
guests:
  server: {{image: usb-server, memory: 256 MiB, passthrough: [pcie@3f000000]}}
  client: {{image: usb-client, memory: 256 MiB}}
network:
  transport: {transport}
  allow: [client -> server {transport}/3240, client -> server {transport}/{port}]
usb:
  - {{class: mass-storage, to: client}}
"""
FIGURES = {
    "echo": ("48-byte round trip", "ms"),
    "read": ("USB disk, sequential read", "MiB/s"),
    "write": ("USB disk, sequential write", "MiB/s"),
    "small": ("USB disk, one 4 KiB read", "ms"),
    "boot": ("client's user space, since the start of the run", "s"),
    "free": ("client's memory available, disk attached", "MiB"),
}
"""What is measured, by the name in a round: what it is, and its unit."""
FREE = "awk '/^MemAvailable/ {print \"free\", $2}' /proc/meminfo"
UP = "userspace"


def compare(rounds: int, config: str, progress: Progress) -> Iterator[Row]:
    """Medians over the rounds, of both transports in each kind of run."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        disk = scratch_disk(folder / "disk.img", DISK_BYTES)
        systems = {}
        for transport in TRANSPORTS:
            place = folder / transport
            place.mkdir()
            text = DESCRIPTION.format(transport=transport, port=PORT, config=config)
            systems[transport] = build_system(place, text, progress)
        kinds: list[tuple[str, Callable[..., Run]]] = [("split", split_run)]
        if all(built.loader_image is not None for built in systems.values()):
            kinds.append(("seL4", microkit_run))
        found: dict[str, list[dict[str, float]]] = {}
        for number in range(1, rounds + 1):
            for kind, run in kinds:
                for transport in TRANSPORTS:
                    label = f"{transport}, {kind}"
                    progress(f"{label}: round {number} of {rounds}")
                    figures_of = measure(systems[transport], run, disk, folder / f"logs-{label}-{number}")
                    found.setdefault(label, []).append(figures_of)
    for figure, (what, unit) in FIGURES.items():
        for label, boots in found.items():
            samples = tuple(each[figure] for each in boots)
            yield Row(what, statistics.median(samples), unit, of=label, samples=samples)


def measure(built: Built, run: Callable[..., Run], disk: Path, logs: Path) -> dict[str, float]:
    """One boot's figures, in the units of FIGURES."""
    server, client = built.plan.guest("server"), built.plan.guest("client")
    timeline = Timeline()
    timeline.mute()
    with run(built, parse_plugs([f"storage:{disk}"]), logs, timeline) as system:
        system.wait_ready(BOOT_TIMEOUT_S)
        execute = system.execute
        free = figures(run_in(execute, client.name, FREE, 60), client.name)["free"][0]
        serve = programs.command(echo.serve, vsock=server.cid is not None, port=PORT)
        execute(server.name, programs.background(serve), 30)
        programs_of_client = (
            programs.command(echo.measure, server=server.peer, port=PORT, times=ECHOES),
            programs.command(throughput.disk, path="/dev/sda", rounds=1, size=DISK_BYTES),
            programs.command(disk_io.measure, sequential=1, random=SMALL_READS, size=DISK_BYTES),
        )
        echoes, large, small = (
            figures(run_in(execute, client.name, command, 600), client.name) for command in programs_of_client
        )
        return {
            "echo": 1000 * statistics.median(echoes["echo"]),
            "read": large["disk"][0] / MiB,
            "write": large["write"][0] / MiB,
            "small": 1000 * small["read latency"][0],
            "boot": timeline.seen(client.name, UP)[0].seconds,
            "free": free / 1024,
        }
