# SPDX-License-Identifier: BSD-2-Clause
"""The system that is measured: a server with two equal disks, and guests that have three file systems each.

The disk in the first port has a partition for each guest, as `disks:` gives it. That in the second has ext4, which the
server mounts, and two files on it for each guest. Guests reach the files as they reach partitions, by NVMe over TCP.
That is for the study alone: no description can ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import programs
from bench.systems import MiB, Progress, build_system, run_in
from router.control.timeline import Timeline
from router.description.models import DISK_PORT
from router.disk.layout import Wanted
from router.disk.prepare import prepare
from router.errors import MachineError
from router.machines.qemu.session import split_run
from router.machines.qemu.split import SplitRun
from router.machines.qemu.usb import parse_plugs
from router.pipeline.build import Built

SERVER = "server"
PORT = 4441
"""Of the first guest, for its files; each further one has the next."""
DISK_BYTES = 96 * MiB
"""Of each of a guest's disks."""
FILES = ("sparse", "full")
"""The kinds that are files, in the order of their namespaces."""
KINDS = (*FILES, "part")
TITLES = {
    "sparse": "sparse file",
    "full": "written file",
    "part": "partition",
    "allocated": "sparse file, nodelalloc",
}
"""Of the kinds, and of what is traced only."""
MEMORY_MIB = {2: (512, 256), 3: (384, 224), 4: (384, 176)}
"""Of the server and of each guest, by how many guests there are: QEMU's board has 1136 MiB for all."""
RATE, REQUESTS = 20 * MiB, 200
"""Bytes and requests a second of each disk while a load runs."""
BOOT_TIMEOUT_S = 240.0
OWN_DISK = "for d in /sys/bus/usb/devices/2-{port}/2-{port}:1.0/host*/target*/*/block/*; do echo ${{d##*/}}; done"
"""In the server: the disk in that port, where a SuperSpeed disk is 2-PORT."""


def names(count: int) -> list[str]:
    """Of that many guests."""
    return [f"g{number}" for number in range(1, count + 1)]


def description(guests: Sequence[str]) -> str:
    """The system's description, as YAML."""
    server, memory = MEMORY_MIB[len(guests)]
    image = "{extends: usb-client, packages: [e2fsprogs]}"
    clients = "".join(f"  {name}: {{image: {image}, memory: {memory} MiB}}\n" for name in guests)
    disks = "".join(
        f"  - {{name: data-{name}, to: {name}, on: {{path: 1-1}}, size: {DISK_BYTES // MiB} MiB}}\n" for name in guests
    )
    allowed = ", ".join(
        f"{name} -> {SERVER} tcp/{DISK_PORT + number + 1}, {name} -> {SERVER} tcp/{PORT + number}"
        for number, name in enumerate(guests)
    )
    return (
        "system: bench-storage\nboard: qemu\nguests:\n"
        f"  {SERVER}: {{image: {{extends: usb-server-tools, packages: [e2fsprogs]}}, memory: {server} MiB,"
        " passthrough: [pcie@3f000000]}\n"
        f"{clients}network:\n  allow: [{allowed}]\ndisks:\n{disks}"
    )


@dataclass(frozen=True)
class Disks:
    """Block devices by kind ("nvme0n1") of each guest, and the server's two disks ("sda")."""

    guests: Mapping[str, Mapping[str, str]]
    parts: str
    files: str

    def server_disk(self, kind: str) -> str:
        """The disk below what the guests have of that kind."""
        return self.parts if kind == "part" else self.files


def boot(folder: Path, guests: Sequence[str], progress: Progress) -> tuple[Built, SplitRun]:
    """A run that is ready to be started, with its disks prepared."""
    built = build_system(folder, description(guests), progress, loader_image=False)
    size = DISK_BYTES * len(guests) + 4 * MiB
    images = [folder / "parts.img", folder / "files.img"]
    for image, share in zip(images, (1, 3), strict=True):
        with image.open("wb") as file:
            file.truncate(size * share)
    prepare(images[0], [Wanted(f"data-{name}", name, DISK_BYTES) for name in guests], guests)
    plugs = parse_plugs([f"storage:{image}" for image in images])
    return built, split_run(built, plugs, folder / "logs", Timeline())


def set_up(system: SplitRun, guests: Sequence[str], progress: Progress) -> Disks:
    """Make the files and all file systems."""
    system.wait_ready(BOOT_TIMEOUT_S)
    parts, files = (run_in(system.execute, SERVER, OWN_DISK.format(port=port), 30).split()[0] for port in (1, 2))
    address = str(system.plan.guest(SERVER).address)
    progress("the server's file system, and a file of each kind for each guest")
    pairs = [f"{PORT + number}:{name}" for number, name in enumerate(guests)]
    run_in(system.execute, SERVER, programs.script("storage_export", f"/dev/{files}", address, DISK_BYTES, *pairs), 300)
    found = {}
    for number, name in enumerate(guests):
        progress(f"three file systems of {name}")
        script = programs.script("storage_attach", address, PORT + number, name, f"/dev/disk/by-router/data-{name}")
        lines = run_in(system.execute, name, script, 300).splitlines()
        found[name] = dict(line.split(maxsplit=1) for line in lines)
        if set(found[name]) != set(KINDS):
            raise MachineError(f"the guest '{name}' has not all of its disks", hint="\n".join(lines))
    return Disks(found, parts, files)


def throttle(system: SplitRun, on: bool) -> None:
    """Both disks as fast as a USB hard disk, or as fast as they can be."""
    rates = f"{RATE} 0 0 {REQUESTS} 0 0" if on else "0 0 0 0 0 0"
    for plug in ("plug1", "plug2"):
        command = f"block_set_io_throttle {plug} {rates}"
        # QEMU's human monitor reports an error as output.
        if said := system.guests[SERVER].qmp.execute("human-monitor-command", command_line=command):
            raise MachineError(f"QEMU refuses {command}: {said.strip()}")
