"""The route from a disk in the server guest to the client guest, measured against plain TCP between the same guests.

Both are measured in turn in one run, so that a machine that is busy slows both. Conditions are printed with the rows.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.guest_programs import ROUTE, TCP_SERVER, shell
from router.errors import MachineError
from router.plan.models import SystemPlan

PORT = 5001
MiB = 1 << 20

Execute = Callable[[str, str, float], tuple[int, bytes]]


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

    def rows(self) -> list[tuple[str, str]]:
        """Name and value, for people."""

        def spread(values: tuple[float, ...]) -> str:
            middle = statistics.median(values)
            return f"{middle:.1f} MiB/s (median of {len(values)}; {min(values):.1f} to {max(values):.1f})"

        return [
            ("TCP, server to client", spread(self.tcp)),
            ("USB disk through the route, sequential read", spread(self.disk)),
            ("ratio of the medians", f"{100 * self.ratio:.0f} %"),
            ("48-byte TCP round trip, median of 100", f"{self.echo_ms:.2f} ms"),
        ]


def measure(execute: Execute, plan: SystemPlan, *, rounds: int = 5, size: int = 32 * MiB) -> RouteResult:
    """Measure in a running system whose switch lets the client reach tcp/5001 of the server. size: the disk's bytes."""
    grant = plan.grants[0]
    server, client = plan.guest(grant.source), plan.guest(grant.to)
    execute(server.name, shell(TCP_SERVER, background=True, PORT=PORT), 30)
    command = shell(ROUTE, SERVER=str(server.address), PORT=PORT, DISK="/dev/sda", ROUNDS=rounds, SIZE=size)
    code, output = execute(client.name, command, 600)
    if code:
        raise MachineError(f"the measurement failed in '{client.name}': {output.decode(errors='replace')[-500:]}")
    figures: dict[str, list[float]] = {"echo": [], "tcp": [], "disk": [], "frame": []}
    for line in output.decode().splitlines():
        name, _, value = line.partition(" ")
        figures[name].append(float(value))
    return RouteResult(
        tuple(rate / MiB for rate in figures["tcp"]),
        tuple(rate / MiB for rate in figures["disk"]),
        1000 * statistics.median(figures["echo"]),
        statistics.median(figures["frame"]),
    )


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


def run_split_route(mtu: int, rounds: int) -> RouteResult:
    """Boot two guests apart, measure and stop. The disk's image is in the host's page cache, unthrottled."""
    from router import files
    from router.control.timeline import Timeline
    from router.description.load import load
    from router.machines.qemu.session import split_run
    from router.machines.qemu.usb import parse_plugs
    from router.pipeline.build import build
    from router.pipeline.inputs import plan_loaded

    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        (folder / "bench.yaml").write_text(DESCRIPTION.format(mtu=mtu, port=PORT))
        planned = plan_loaded(load(folder / "bench.yaml"), files.cache_folder(), lambda _: None)
        built = build(planned, folder / "build", files.cache_folder(), lambda _: None)
        disk = scratch_disk(folder / "disk.img", 32 * MiB)
        with split_run(built, parse_plugs([f"storage:{disk}"]), folder / "logs", Timeline()) as system:
            system.wait_ready(180)
            return measure(system.execute, built.plan, rounds=rounds)


def scratch_disk(path: Path, size: int) -> Path:
    """A disk image of that many bytes, not all zero, made once."""
    if not path.exists() or path.stat().st_size != size:
        path.parent.mkdir(parents=True, exist_ok=True)
        block = bytes(range(256)) * 4096
        path.write_bytes(block * (size // len(block)))
    return path
