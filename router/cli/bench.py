"""Measure this system on this computer. Each measurement prints its conditions beside its figures.

start    check, build and run: how long the user waits (--cold: also with an empty cache, which downloads)
route    the USB disk through the route against TCP between the same guests, in one run
usbip    the USB/IP engines against Debian's C usbipd, latency against TCP, hot-plug, memory
sel4     the same system on seL4 and as a split run: waits, TCP with and without GSO, the disk, idle guests, sizes
vswitch  the switch's core and its host process
tftp     the deployment's TFTP server beside others that are installed
devices  no figures: every emulated USB device, used over the route in two guests, with a verdict for each engine
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from router.cli import _common

if TYPE_CHECKING:
    from bench.device_models import Trial

NAME = "bench"
HELP = "measure the system on this computer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=sorted(MEASUREMENTS), help="what to measure")
    parser.add_argument("--cold", action="store_true", help="start: also build with an empty cache")
    parser.add_argument(
        "--mtu", type=int, default=1500, help="route, usbip: MTU of the virtual Ethernet (default: 1500)"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="route, usbip, sel4: measurements of each kind (default: 5)"
    )
    parser.add_argument("--config", default="debug", help="sel4: the SDK's configuration (default: debug)")
    parser.add_argument(
        "--engine", choices=("kernel", "usbfs", "both"), default="both", help="devices: of the server (default: both)"
    )
    parser.add_argument("--only", metavar="NAME", nargs="+", default=[], help="devices: these only; see the table")
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="devices: where to write the table (default: docs/tested-devices.md when all are tried, else nowhere)",
    )
    parser.add_argument("--json", action="store_true", help="usbip, devices: print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    from router import resources
    from router.errors import HostError

    top = resources.checkout()
    if top is None:
        raise HostError("the measurements come with the checkout only", hint="clone the repository and run it there")
    # `bench/` is not part of what is installed; `router` started from elsewhere does not see it.
    sys.path.insert(0, str(top))
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
    from bench.start import waits

    _common.say("conditions", conditions("qemu.yaml"))
    show(waits("qemu.yaml", args.cold))


def route(args: argparse.Namespace) -> None:
    """The disk's way against plain TCP."""
    from bench.route import run_split_route

    _common.say("conditions", conditions("split run, QEMU TCG", "cortex-a53, 1 vCPU a guest", f"MTU {args.mtu}"))
    show(run_split_route(args.mtu, args.rounds).rows())


def usbip(args: argparse.Namespace) -> None:
    """The engines, the latency, hot-plug."""
    from bench import usbip as bench

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
    from bench import vswitch as bench

    _common.say("conditions", bench.conditions())
    print(bench.render(bench.run()))


def sel4(args: argparse.Namespace) -> None:
    """seL4 beside the split run."""
    from bench import sel4 as bench

    _common.say("conditions", conditions(*bench.conditions(), f"configuration {args.config}"))
    show(bench.compare(args.rounds, args.config))


def tftp(args: argparse.Namespace) -> None:
    """Our TFTP server beside others."""
    from bench import tftp as bench

    _common.say("conditions", conditions("loopback, 30 MB"))
    print(bench.render(bench.run()))


def devices(args: argparse.Namespace) -> None:
    """Every device over the route."""
    from bench.device_table import as_json, render, verdict
    from bench.devices import LEFT_OUT, choose, chosen_engines, run_devices
    from router import files

    chosen = choose(args.only)
    engines = chosen_engines(args.engine)

    def told(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def done(trial: Trial) -> None:
        told(f"{trial.engine:<8} {trial.device}: {verdict(trial)}  {trial.seconds:.0f} s")

    trials, more = run_devices(chosen, engines, told, done)
    facts = (conditions(), *more)
    text = render(trials, facts, () if args.only else LEFT_OUT)
    print(as_json(trials, facts) if args.json else text, end="")
    output = args.output or (OUTPUT if not args.only and args.engine == "both" else None)
    if output is not None:
        files.write(Path(output), text.encode())


OUTPUT = "docs/tested-devices.md"
MEASUREMENTS = {
    "start": start,
    "route": route,
    "usbip": usbip,
    "sel4": sel4,
    "vswitch": vswitch,
    "tftp": tftp,
    "devices": devices,
}
