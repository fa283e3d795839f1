"""Show the whole thing: build the shipped qemu.yaml, boot it, route a USB disk and a keyboard, and prove it.

The disk holds fresh random data. The client guest reads it through the route, and the checksum that it computes is
compared with that of the image on this computer. Exit code 0 only if everything that is printed is true.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from pathlib import Path

from router.cli import _common

NAME = "demo"
HELP = "build, boot and prove the shipped example"

MiB = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", metavar="MIB", type=int, default=32, help="size of the demo's disk (default: 32)")
    parser.add_argument("-o", "--output", metavar="DIR", help="the build folder (default: build/SYSTEM)")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=180.0, help="for coming up (default: 180)")


def run(args: argparse.Namespace) -> int:
    from router import files
    from router.cli import check
    from router.control.timeline import Timeline
    from router.errors import MachineError
    from router.machines.qemu.session import split_run
    from router.machines.qemu.usb import parse_plugs
    from router.pipeline.build import build

    progress = _common.Progress()
    planned = _common.plan("qemu.yaml", progress)
    folder = _common.build_folder(args, planned.plan.name)
    built = build(planned, folder, files.cache_folder(), progress, loader_image=False)
    progress.done()
    check.summary(planned, closure=False)
    with tempfile.TemporaryDirectory(prefix="router-demo-") as scratch:
        disk = Path(scratch) / "disk.img"
        data = os.urandom(args.size * MiB)
        disk.write_bytes(data)
        expected = hashlib.sha256(data).hexdigest()
        plugs = parse_plugs([f"storage:{disk}", "keyboard"])
        with split_run(built, plugs, built.folder / "logs", Timeline()) as system:
            system.wait_ready(args.timeout)
            _, ports = system.execute("client", "router-usbip port", 60)
            code, sums = system.execute("client", "sha256sum /dev/sda", 300)
            _, inputs = system.execute("client", "grep ^N: /proc/bus/input/devices", 30)
    found = sums.decode().split()[0] if code == 0 and sums else "nothing"
    keyboard = "Keyboard" in inputs.decode()
    print("\nin the client guest, over USB/IP, the switch and the server guest:")
    sys.stdout.write("".join(f"  {line}\n" for line in (ports + inputs).decode().splitlines()))
    print(f"  sha256 of /dev/sda  {found}\n  sha256 of the image {expected}")
    if found != expected:
        raise MachineError("the client read other data than the disk holds", hint=f"logs: {built.folder}/logs")
    if not keyboard:
        raise MachineError("the keyboard did not reach the client", hint=f"logs: {built.folder}/logs")
    print(f"the disk and the keyboard are routed, and {args.size} MiB read through the route match")
    return 0
