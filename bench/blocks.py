# SPDX-License-Identifier: BSD-2-Clause
"""A disk by USB/IP and a disk as blocks, and TCP between the same guests, measured in turn in one run.

The two disks are equal: images in the host's page cache, on two ports of one controller. No road can be faster than the
server's own reading and TCP one after the other, where nothing overlaps: 1/(1/TCP + 1/native) is printed with each.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import programs
from bench.guest import throughput, throughput_server
from bench.report import Row, median
from bench.route import BOOT_TIMEOUT_S, PORT
from bench.systems import Execute, MiB, Progress, build_system, figures, run_in, scratch_disk
from router.control.timeline import Timeline
from router.machines.qemu.session import split_run
from router.machines.qemu.usb import parse_plugs
from router.plan.models import SystemPlan

DESCRIPTION = """
system: bench-blocks
board: qemu
guests:
  server: {{image: usb-server, memory: 512 MiB, passthrough: [pcie@3f000000]}}
  client: {{image: usb-client, memory: 512 MiB}}
network:
  mtu: {mtu}
  allow: [client -> server tcp/3240, client -> server tcp/4421, client -> server tcp/{port}]
usb:
  - {{path: 1-1, to: client, as: block, name: bench}}
  - {{class: mass-storage, to: client}}
"""
SIZE = 32 * MiB
BLOCK, USB = "/dev/disk/by-router/bench", "/dev/sda"
OWN_BLOCK = "for d in /sys/bus/usb/devices/2-1/2-1:1.0/host*/target*/*/block/*; do echo /dev/${d##*/}; done"
"""In the server: the block device of the disk in the first port, where a SuperSpeed disk is 2-1."""
SAMPLES = ("tcp", "usb-read", "usb-write", "usb-small", "block-read", "block-write", "block-small")


@dataclass(frozen=True)
class Roads:
    """Values of each round, by the names of SAMPLES: bytes/s, and seconds for small reads. native: in the server."""

    samples: dict[str, list[float]]
    native_read: list[float]
    native_write: list[float]

    def rows(self) -> Iterator[Row]:
        """The figures, and of each road how it compares."""
        middle = {name: statistics.median(values) for name, values in self.samples.items()}
        yield median("TCP, server to client", "MiB/s", [value / MiB for value in self.samples["tcp"]])
        for what, native in (("read", self.native_read), ("write", self.native_write)):
            own = statistics.median(native)
            limit = 1 / (1 / middle["tcp"] + 1 / own)
            yield median(f"{what}, in the server itself", "MiB/s", [value / MiB for value in native])
            yield Row(f"{what}, sum limit 1/(1/TCP + 1/native)", limit / MiB, "MiB/s")
            for road, title in (("usb", "USB/IP"), ("block", "blocks")):
                name = f"{road}-{what}"
                yield median(f"{what}, {title}", "MiB/s", [value / MiB for value in self.samples[name]])
                yield Row(f"{what}, {title}, of TCP", 100 * middle[name] / middle["tcp"], "%")
                yield Row(f"{what}, {title}, of the sum limit", 100 * middle[name] / limit, "%")
        for road, title in (("usb", "USB/IP"), ("block", "blocks")):
            yield median(f"4 KiB direct read, {title}", "ms", [1000 * value for value in self.samples[f"{road}-small"]])


def measure(execute: Execute, plan: SystemPlan, rounds: int, size: int = SIZE) -> Roads:
    """Measure in a running system of DESCRIPTION. MachineError when the guests' programs do not give every figure."""
    server, client = plan.guest("server"), plan.guest("client")
    execute(server.name, programs.background(programs.command(throughput_server.serve, port=PORT)), 30)
    command = programs.command(
        throughput.roads, server=str(server.address), port=PORT, usb=USB, block=BLOCK, rounds=rounds, size=size
    )
    found = figures(run_in(execute, client.name, command, 900), client.name)
    own = run_in(execute, server.name, OWN_BLOCK, 30).split()[0]
    native = programs.command(throughput.disk, path=own, rounds=rounds, size=size)
    here = figures(run_in(execute, server.name, native, 600), server.name)
    return Roads({name: found[name] for name in SAMPLES}, here["disk"], here["write"])


def run_split_blocks(mtu: int, rounds: int, progress: Progress) -> Roads:
    """Boot a split run, measure and stop."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        built = build_system(folder, DESCRIPTION.format(mtu=mtu, port=PORT), progress, loader_image=False)
        disks = [scratch_disk(folder / f"{n}.img", SIZE) for n in range(2)]
        progress("booting two guests")
        with split_run(
            built, parse_plugs([f"storage:{disk}" for disk in disks]), folder / "logs", Timeline()
        ) as system:
            system.wait_ready(BOOT_TIMEOUT_S)
            progress(f"TCP and both roads, rounds: {rounds}")
            return measure(system.execute, built.plan, rounds)
