# SPDX-License-Identifier: BSD-2-Clause
"""Measure this system on this computer. Each measurement prints its conditions with its figures.

start    check, build and run: how long the user waits (--cold: also with an empty cache, which downloads;
         --profile: instead of that, where the time of a start goes, on seL4 and as a split run)
counts   traps, interrupts, notifications, copies: for a round trip, a MiB, an idle second, a start. Not seconds
route    the USB disk through the route compared with TCP between the same guests, in one run
blocks   a disk as blocks compared with one by USB/IP and with TCP, in one run
usbip    the USB/IP engines compared with Debian's C usbipd, latency with TCP; hot-plug, memory
sel4     the same system on seL4 and as a split run: boot, TCP with and without offloads, the disk, idle guests, sizes
vswitch  the switch's core and its host process
latency  from a key to the client's answer, idle and beside a full disk read; split run and seL4 (--keys)
scale    two to ten guests: plan, build, start, idle time, the switch's time for a frame, and how each grows
         (--output: as plots)
streams  what a camera and a microphone lose on the way, by period and beside a disk read; split run and seL4
tftp     the deployment's TFTP server compared with others that are installed
vsock    the same system over TCP and over vsock, split and on seL4: round trips, the disk, the client's boot and memory
floods   what a guest that floods the host costs it in memory, processor and disk (--seconds)
storage  one disk for several guests: files on the server's ext4 compared with partitions (--guests, --seconds, --only)
compare  two files that --json wrote, side by side with their noise: router bench compare A.json B.json
devices  no figures: uses every emulated USB device over the route in two guests, and judges it for each engine
         (--on sel4: on seL4 instead of as a split run)

Progress goes to standard error. The exit code is 4 when a figure misses its goal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from router.cli import _common

if TYPE_CHECKING:
    from bench.devices.models import Trial
    from bench.report import Measurement

NAME = "bench"
HELP = "measure the system on this computer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=sorted(MEASUREMENTS), help="what to measure")
    parser.add_argument("files", nargs="*", metavar="FILE", help="compare: the two files")
    parser.add_argument("--profile", action="store_true", help="start: where the time goes")
    parser.add_argument("--cold", action="store_true", help="start: also build with an empty cache")
    parser.add_argument(
        "--mtu", type=int, default=1500, help="route, blocks, usbip: MTU of the virtual Ethernet (default: 1500)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=5,
        help="route, blocks, usbip, sel4, storage, streams, vsock: measurements of each (default: 5)",
    )
    parser.add_argument(
        "--seconds", type=float, help="floods, storage: how long each of them, or each load, lasts (default: 600, 4)"
    )
    parser.add_argument("--guests", type=int, choices=(2, 3, 4), default=2, help="storage: guests (default: 2)")
    parser.add_argument("--keys", type=int, default=300, help="latency: keys of each kind (default: 300)")
    parser.add_argument(
        "--config",
        default="debug",
        help="sel4, latency, counts, vsock, scale: the SDK's configuration (default: debug)",
    )
    parser.add_argument(
        "--transport", choices=("tcp", "vsock"), default="tcp", help="counts: of the USB devices (default: tcp)"
    )
    parser.add_argument(
        "--engine", choices=("kernel", "usbfs", "both"), default="both", help="devices: of the server (default: both)"
    )
    parser.add_argument(
        "--on", choices=("split", "sel4"), default="split", help="devices: how the guests run (default: split)"
    )
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", default=[], help="devices, storage: these only; see the tables"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="devices: where to write the table (default: docs/tested-devices.md when all are tried with both engines"
        " in a split run, else nowhere); scale: where to write the plots, as SVG",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    from router import resources
    from router.errors import DescriptionError, HostError, MachineError

    top = resources.checkout()
    if top is None:
        raise HostError("the measurements come with the checkout only", hint="clone the repository and run it there")
    # The wheel has no bench/, so it is not on the path where the checkout is not the current folder.
    sys.path.insert(0, str(top))
    if args.files and args.what != "compare":
        raise DescriptionError("files are for 'compare' only", where=f"bench {args.what}")
    progress = _common.Progress()
    missed = MEASUREMENTS[args.what](args, progress)
    return MachineError.exit_code if missed else 0


def show(args: argparse.Namespace, found: Measurement, progress: _common.Progress, table: str = "") -> bool:
    """Print conditions and figures, as `table` or a line for each; whether a goal is missed."""
    from bench.report import as_json, render

    progress.done()
    if args.json:
        print(as_json(found))
    else:
        for line in found.conditions:
            _common.say("conditions", line)
        print(table or render(found.rows))
    return found.missed


def start(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """How long the user waits."""
    from bench.report import GUESTS, Measurement, computer
    from bench.start import waits

    if args.profile:
        from bench import profile

        found = Measurement("start --profile", (computer(), *profile.conditions(), GUESTS), profile.profile(progress))
        return show(args, found, progress)
    conditions = (computer(), "qemu.yaml", GUESTS)
    rows = tuple(waits("qemu.yaml", args.cold, progress))
    return show(args, Measurement("start", conditions, rows), progress)


def route(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """The disk through the route compared with plain TCP."""
    from bench.report import Measurement, computer
    from bench.route import run_split_route

    conditions = (computer(), *split_run(args))
    rows = run_split_route(args.mtu, args.rounds, progress).rows()
    return show(args, Measurement("route", conditions, rows), progress)


def blocks(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """A disk as blocks compared with one by USB/IP and with TCP."""
    from bench.blocks import run_split_blocks
    from bench.report import Measurement, computer

    conditions = (computer(), *split_run(args))
    rows = tuple(run_split_blocks(args.mtu, args.rounds, progress).rows())
    return show(args, Measurement("blocks", conditions, rows), progress)


def split_run(args: argparse.Namespace) -> tuple[str, ...]:
    """The conditions of a split run."""
    from bench.report import GUESTS

    return (f"split run, QEMU TCG; cortex-a53, 1 vCPU a guest; MTU {args.mtu}; rounds: {args.rounds}", GUESTS)


def usbip(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """The engines, latency, hot-plug, memory."""
    from bench import usbip as bench
    from bench.report import Measurement, computer

    conditions = (computer(), *split_run(args))
    rows = tuple(bench.measure(args.mtu, args.rounds, progress).rows())
    return show(args, Measurement("usbip", conditions, rows), progress)


def vswitch(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """The switch."""
    from bench import vswitch as bench
    from bench.report import Measurement

    conditions = (bench.conditions(),)
    rows = bench.run(progress)
    return show(args, Measurement("vswitch", conditions, bench.as_rows(rows)), progress, bench.render(rows))


def sel4(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """seL4 compared with a split run."""
    from bench import sel4 as bench
    from bench.report import GUESTS, Measurement, computer

    conditions = (computer(), *bench.conditions(), GUESTS, f"configuration {args.config}; rounds: {args.rounds}")
    rows = tuple(bench.compare(args.rounds, args.config, progress))
    return show(args, Measurement("sel4", conditions, rows), progress)


def tftp(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """Our TFTP server compared with others."""
    from bench import tftp as bench
    from bench.report import Measurement, computer

    conditions = (computer(), "loopback, all on one processor, 30 MB")
    report = bench.run(progress)
    return show(args, Measurement("tftp", conditions, bench.as_rows(report)), progress, bench.render(report))


def floods(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """A guest that floods."""
    from bench import floods as bench
    from bench.report import GUESTS, Measurement, computer

    seconds = 600.0 if args.seconds is None else args.seconds
    conditions = (computer(), f"split run of two guests, QEMU TCG; {seconds:g} s of each flood", GUESTS)
    rows = tuple(bench.measure(seconds, progress))
    return show(args, Measurement("floods", conditions, rows), progress)


def storage(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """One disk for several guests."""
    from bench.report import GUESTS, Measurement, computer
    from bench.storage import report, run
    from bench.storage.loads import choose

    loads = choose(args.only)
    seconds = 4.0 if args.seconds is None else args.seconds
    facts = (computer(), *run.conditions(args.guests, seconds), f"rounds: {args.rounds}", GUESTS)
    found = run.study(args.guests, loads, seconds, args.rounds, progress)
    return show(args, Measurement("storage", facts, tuple(report.rows(found))), progress)


def devices(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """Every device over the route."""
    from bench.devices.catalogue import INTERMITTENT, LEFT_OUT
    from bench.devices.run import choose, chosen_engines, run_devices
    from bench.devices.table import as_json, render, verdict
    from bench.report import GUESTS, computer
    from router import files

    chosen = choose(args.only)
    engines = chosen_engines(args.engine)

    def done(trial: Trial) -> None:
        progress.done()
        line = f"{trial.engine:<8} {trial.device}: {verdict(trial)}  {trial.seconds:.0f} s"
        print(line, file=sys.stderr, flush=True)

    # Now, because the measurement itself adds to the load.
    here = computer()
    trials, more = run_devices(chosen, engines, progress, done, args.on)
    progress.done()
    facts = (here, *more, GUESTS)
    notes = () if args.only else (LEFT_OUT, INTERMITTENT)
    text = render(trials, facts, *notes)
    print(as_json(trials, facts) if args.json else text, end="")
    output = args.output or (OUTPUT if not args.only and (args.engine, args.on) == ("both", "split") else None)
    if output is not None:
        files.write(Path(output), text.encode())
    return False


def latency(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """From a key to the client's answer."""
    from bench import latency as bench
    from bench.report import GUESTS, Measurement, computer
    from bench.sel4 import conditions

    facts = (computer(), *conditions()[:2], GUESTS, f"{args.keys} keys of each kind; configuration {args.config}")
    rows = tuple(bench.compare(args.keys, args.config, progress))
    return show(args, Measurement("latency", facts, rows), progress)


def streams(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """What devices lose whose data do not wait."""
    from bench import streams as bench
    from bench.report import GUESTS, Measurement, computer

    facts = (computer(), "QEMU TCG; cortex-a53, 512 MiB a guest", *bench.conditions(), GUESTS)
    rows = tuple(bench.compare(args.rounds, progress))
    return show(args, Measurement("streams", facts, rows), progress)


def vsock(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """TCP compared with vsock."""
    from bench import vsock as bench
    from bench.report import GUESTS, Measurement, computer

    facts = (
        computer(),
        f"QEMU TCG; cortex-a53, 1 vCPU a guest; configuration {args.config}; all in turn, boots of each: {args.rounds}",
        GUESTS,
    )
    rows = tuple(bench.compare(args.rounds, args.config, progress))
    return show(args, Measurement("vsock", facts, rows), progress)


def scale(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """From two to ten guests."""
    from bench import scale as bench
    from bench.report import GUESTS, Measurement, computer
    from router import files

    each = f"QEMU TCG; cortex-a53, 1 vCPU and {bench.MEMORY} MiB a guest; configuration {args.config}"
    facts = (computer(), each, GUESTS)
    growth = bench.measure(args.config, progress)
    if args.output:
        files.write(Path(args.output), bench.plots(growth).encode())
    return show(args, Measurement("scale", facts, tuple(bench.rows(growth))), progress)


def counts(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """Counts instead of seconds."""
    from bench import counts as bench
    from bench.report import SAME_GUESTS, Measurement, computer

    facts = (
        computer(),
        f"seL4, configuration {args.config}; {args.transport}; QEMU counts instructions, 2 ns each",
        SAME_GUESTS,
    )
    return show(args, Measurement("counts", facts, bench.count_all(args.config, args.transport, progress)), progress)


def compare(args: argparse.Namespace, progress: _common.Progress) -> bool:
    """Two runs side by side."""
    from bench.compare import compare, read
    from router.errors import DescriptionError

    if len(args.files) != 2:
        raise DescriptionError("two files are compared", hint="router bench compare A.json B.json", where="bench")
    before, after = (read(Path(name)) for name in args.files)
    for name, run in zip(args.files, (before, after), strict=True):
        for line in run.conditions:
            _common.say(name, line)
    print("\n".join(compare(before, after)))
    return False


OUTPUT = "docs/tested-devices.md"
MEASUREMENTS: dict[str, Callable[[argparse.Namespace, _common.Progress], bool]] = {
    "start": start,
    "route": route,
    "blocks": blocks,
    "counts": counts,
    "compare": compare,
    "usbip": usbip,
    "scale": scale,
    "sel4": sel4,
    "latency": latency,
    "streams": streams,
    "vswitch": vswitch,
    "vsock": vsock,
    "tftp": tftp,
    "floods": floods,
    "storage": storage,
    "devices": devices,
}
