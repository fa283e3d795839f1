# SPDX-License-Identifier: BSD-2-Clause
"""The route from a disk in the server guest to the client guest, measured against plain TCP between the same guests.

Both are measured in turn in one run, so that a busy computer slows both.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import programs
from bench.guest import throughput, throughput_server
from bench.report import Row, median
from bench.systems import Execute, MiB, Progress, build_system, figures, run_in, scratch_disk
from router.control.timeline import Timeline
from router.machines.qemu.session import split_run
from router.machines.qemu.usb import parse_plugs
from router.plan.models import SystemPlan

PORT = 5001
BOOT_TIMEOUT_S = 180.0
DESCRIPTION = """
system: bench-route
board: qemu
guests:
  server: {{image: usb-server, memory: 512 MiB, passthrough: [pcie@3f000000]}}
  client: {{image: usb-client, memory: 512 MiB}}
network:
  mtu: {mtu}
  allow: [client -> server tcp/3240, client -> server tcp/{port}]
usb:
  - {{class: mass-storage, to: client}}
"""


@dataclass(frozen=True)
class RouteResult:
    """Rates in MiB/s, one for each round; the echo's median in milliseconds."""

    tcp: tuple[float, ...]
    disk: tuple[float, ...]
    echo_ms: float
    frame: float
    """Mean length of TCP's frames on the virtual wire, in bytes."""

    @property
    def ratio(self) -> float:
        """Median of the disk's rate over the median of TCP's."""
        return statistics.median(self.disk) / statistics.median(self.tcp)

    def rows(self) -> tuple[Row, ...]:
        """The figures."""
        return (
            median("TCP, server to client", "MiB/s", self.tcp),
            median("USB disk through the route, sequential read", "MiB/s", self.disk),
            Row("ratio of the medians", 100 * self.ratio, "%"),
            Row("48-byte TCP round trip, median of 100", self.echo_ms, "ms"),
        )


def measure(execute: Execute, plan: SystemPlan, *, rounds: int = 5, size: int = 32 * MiB) -> RouteResult:
    """Measure in a running system whose switch lets the client reach tcp/5001 of the server. size: the disk's bytes."""
    grant = plan.grants[0]
    server, client = plan.guest(grant.source), plan.guest(grant.to)
    execute(server.name, programs.background(programs.command(throughput_server.serve, port=PORT)), 30)
    command = programs.command(
        throughput.route, server=str(server.address), port=PORT, disk="/dev/sda", rounds=rounds, size=size
    )
    found = figures(run_in(execute, client.name, command, 600), client.name)
    return RouteResult(
        tuple(rate / MiB for rate in found["tcp"]),
        tuple(rate / MiB for rate in found["disk"]),
        1000 * statistics.median(found["echo"]),
        statistics.median(found["frame"]),
    )


def run_split_route(mtu: int, rounds: int, progress: Progress) -> RouteResult:
    """Boot a split run, measure and stop. The disk's image is in the host's page cache, unthrottled."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        built = build_system(folder, DESCRIPTION.format(mtu=mtu, port=PORT), progress, loader_image=False)
        disk = scratch_disk(folder / "disk.img", 32 * MiB)
        progress("booting two guests")
        with split_run(built, parse_plugs([f"storage:{disk}"]), folder / "logs", Timeline()) as system:
            system.wait_ready(BOOT_TIMEOUT_S)
            progress(f"TCP and the disk, rounds: {rounds}")
            return measure(system.execute, built.plan, rounds=rounds)
