"""Measure this system on this computer. Each measurement prints its conditions beside its figures.

start    check, build and run: how long the user waits (--cold: also with an empty cache, which downloads)
route    the USB disk through the route against TCP between the same guests, in one run
usbip    the USB/IP engines against Debian's C usbipd, latency against TCP, hot-plug, memory
sel4     the same system on seL4 and as a split run: waits, TCP with and without GSO, the disk, idle guests, sizes
vswitch  the switch's core and its host process
tftp     the deployment's TFTP server beside others that are installed
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict

from router.cli import _common

NAME = "bench"
HELP = "measure the system on this computer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=sorted(MEASUREMENTS), help="what to measure")
    parser.add_argument("--cold", action="store_true", help="start: also build with an empty cache")
    parser.add_argument(
        "--mtu", type=int, default=1500, help="route, usbip: MTU of the virtual Ethernet (default: 1500)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="route, usbip: measurements of each kind (default: 5)")
    parser.add_argument("--json", action="store_true", help="usbip: one JSON object instead of rows")


def run(args: argparse.Namespace) -> int:
    MEASUREMENTS[args.what](args)
    return 0


def conditions(*more: str) -> str:
    """The computer, in one line."""
    parts = (
        platform.machine(),
        f"{os.cpu_count()} cores",
        f"load {os.getloadavg()[0]:.1f}",
        f"Python {platform.python_version()}",
    )
    return ", ".join((*parts, *more))


def show(rows: Iterable[tuple[str, str]]) -> None:
    """A line a row."""
    for name, value in rows:
        print(f"{name:<55} {value}", flush=True)


def start(args: argparse.Namespace) -> None:
    """How long the user waits."""
    from router.bench.start import waits

    _common.say("conditions", conditions("qemu.yaml"))
    show(waits("qemu.yaml", args.cold))


def route(args: argparse.Namespace) -> None:
    """The disk's way against plain TCP."""
    from router.bench.route import run_split_route

    _common.say("conditions", conditions("split run, QEMU TCG", "cortex-a53, 1 vCPU a guest", f"MTU {args.mtu}"))
    show(run_split_route(args.mtu, args.rounds).rows())


def usbip(args: argparse.Namespace) -> None:
    """The engines, the latency, hot-plug."""
    from router.bench import usbip as bench

    computer = conditions("split run, QEMU TCG", "cortex-a53, 1 vCPU a guest", f"MTU {args.mtu}")
    if not args.json:
        _common.say("conditions", computer)
    figures = bench.measure(args.mtu, args.rounds, lambda text: print(text, file=sys.stderr, flush=True))
    rows = list(figures.rows())
    if args.json:
        print(json.dumps({"conditions": computer, "rows": [asdict(row) for row in rows], "times": figures.values}))
    else:
        show((row.name, row.render()) for row in rows)


def vswitch(args: argparse.Namespace) -> None:
    """The switch."""
    from router.vswitch import bench

    _common.say("conditions", bench.conditions())
    print(bench.render(bench.run()))


def sel4(args: argparse.Namespace) -> None:
    """seL4 beside the split run."""
    from router.bench import sel4 as bench

    _common.say("conditions", conditions(*bench.conditions()))
    show(bench.compare(args.rounds))


def tftp(args: argparse.Namespace) -> None:
    """Our TFTP server beside others."""
    from router.machines.board.tftp import bench

    _common.say("conditions", conditions("loopback, 30 MB"))
    print(bench.render(bench.run()))


MEASUREMENTS = {"start": start, "route": route, "usbip": usbip, "sel4": sel4, "vswitch": vswitch, "tftp": tftp}
