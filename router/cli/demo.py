# SPDX-License-Identifier: BSD-2-Clause
"""Show the whole thing: build the shipped qemu.yaml, boot it, route a USB disk and a keyboard, and prove it.

Where a Microkit SDK is installed, seL4 runs below the guests. Without one, a person at a terminal is offered to have it
fetched; otherwise each guest runs in a QEMU of its own, without seL4.

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
from typing import TYPE_CHECKING

from router.cli import _common

if TYPE_CHECKING:
    from router.machines.qemu.running import Run
    from router.machines.qemu.usb import UsbPlug
    from router.pipeline.build import Built

NAME = "demo"
HELP = "build, boot and prove the shipped example"

MiB = 1 << 20
DESCRIPTION = "qemu.yaml"
STALL_TIMEOUT_S = 5.0
"""Without a byte of the SDK, after which the demo goes on without."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", metavar="MIB", type=int, default=32, help="size of the demo's disk (default: 32)")
    parser.add_argument("-o", "--output", metavar="DIR", help="the build folder (default: build/SYSTEM)")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=180.0, help="for coming up (default: 180)")


def run(args: argparse.Namespace) -> int:
    from router import files
    from router.cli import check
    from router.machines.qemu.mode import check_mode
    from router.machines.qemu.usb import parse_plugs
    from router.pipeline.build import build

    progress = _common.Progress()
    planned = _common.plan(DESCRIPTION, progress)
    if planned.sdk is None:
        why = offer_sdk(progress)
        if why is None:
            planned = _common.plan(DESCRIPTION, progress)
        else:
            print(f"note: {why}: the demo is a split run, each guest in a QEMU of its own, without seL4", flush=True)
    mode = "split" if planned.sdk is None else "microkit"
    check_mode(mode, planned)
    folder = _common.build_folder(args, planned.plan.name)
    try:
        built = build(planned, folder, files.cache_folder(), progress, loader_image=mode == "microkit")
    finally:
        progress.done()
    check.summary(planned, closure=False)
    if built.loader_image is not None:
        _common.say("microkit", built.loader_image.summary())
    with tempfile.TemporaryDirectory(prefix="router-demo-") as scratch:
        disk = Path(scratch) / "disk.img"
        data = os.urandom(args.size * MiB)
        disk.write_bytes(data)
        expected = hashlib.sha256(data).hexdigest()
        with start(built, parse_plugs([f"storage:{disk}", "keyboard"])) as system:
            prove(system, expected, args.timeout, built.folder / "logs")
    sel4 = f", on seL4 with Microkit SDK {built.loader_image.sdk}" if built.loader_image is not None else ""
    print(f"the disk and the keyboard are routed, and {args.size} MiB read through the route match{sel4}")
    return 0


def offer_sdk(progress: _common.Progress) -> str | None:
    """Install the newest SDK if a person at the terminal says so; None, or why there is none."""
    from router.cli._meter import Meter
    from router.errors import RouterError
    from router.sdk import install
    from router.sdk.download import Limits

    none = "no Microkit SDK is installed"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return none
    try:
        wanted = install.request()
        places = install.places()
        print(
            f"{none}. Fetch Microkit {wanted.version} from {wanted.where} into {places.share / wanted.folder}? [y/N] ",
            end="",
            file=sys.stderr,
            flush=True,
        )
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return none
        install.install(wanted, places, Meter(progress), limits=Limits(stall_timeout_s=STALL_TIMEOUT_S, attempts=1))
    except RouterError as error:
        return error.message
    finally:
        progress.done()
    return None


def start(built: Built, plugs: tuple[UsbPlug, ...]) -> Run:
    """The system of a build folder, ready to be started as a context: with seL4 where its loader image was made."""
    from router.control.timeline import Timeline
    from router.machines.qemu.session import microkit_run, split_run

    make = split_run if built.loader_image is None else microkit_run
    return make(built, plugs, built.folder / "logs", Timeline())


def prove(system: Run, expected: str, timeout: float, logs: Path) -> None:
    """Show that the client has the disk, with the data of that checksum, and the keyboard; MachineError otherwise."""
    from router.errors import MachineError

    system.wait_ready(timeout)
    _, ports = system.execute("client", "router-usbip port", 60)
    code, sums = system.execute("client", "sha256sum /dev/sda", 300)
    _, inputs = system.execute("client", "grep ^N: /proc/bus/input/devices", 30)
    found = sums.decode().split()[0] if code == 0 and sums else "nothing"
    print("\nin the client guest, over USB/IP, the switch and the server guest:")
    sys.stdout.write("".join(f"  {line}\n" for line in (ports + inputs).decode().splitlines()))
    print(f"  sha256 of /dev/sda  {found}\n  sha256 of the image {expected}")
    if found != expected:
        raise MachineError("the client read other data than the disk holds", hint=f"logs: {logs}")
    if "Keyboard" not in inputs.decode():
        raise MachineError("the keyboard did not reach the client", hint=f"logs: {logs}")
