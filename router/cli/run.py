# SPDX-License-Identifier: BSD-2-Clause
"""Build a description and boot it in QEMU.

--mode split runs each guest in a QEMU of its own, with the same device trees and the same switch as on the board, but
without seL4 between them. --mode microkit runs the whole system, seL4 included, in one QEMU; it needs loader.img, which
needs a Microkit SDK. --mode auto takes microkit where loader.img can be made, and split elsewhere.

Without --exec and --console the system runs until Ctrl-C. Meanwhile `router usb` and `router exec` talk to it from
another terminal. Examples:

  router run qemu.yaml --usb storage:disk.img --usb keyboard
  router run qemu.yaml --usb storage:disk.img --exec 'client: sha256sum /dev/sda'
  router run qemu.yaml --usb keyboard --exec 'client: router-usbip port' --junit report.xml
  router run qemu.yaml --usb keyboard --exec 'client: lsusb' --report run.html
  router run qemu.yaml --console client
  router run maaxboard.yaml --stage 1
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from router import display
from router.cli import _common
from router.words import listing

if TYPE_CHECKING:
    from router.boards.model import EmulatedBoard
    from router.machines.qemu.running import Run
    from router.pipeline.inputs import Planned

NAME = "run"
HELP = "boot a description in QEMU and watch it come up"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _common.add_description(parser)
    parser.add_argument("-o", "--output", metavar="DIR", help="the build folder (default: build/SYSTEM)")
    parser.add_argument(
        "--mode", choices=("auto", "split", "microkit"), default="auto", help="see above (default: auto)"
    )
    parser.add_argument(
        "--usb",
        metavar="KIND[:ARGUMENT]",
        action="append",
        default=[],
        help="plug an emulated device into the server guest (repeatable): storage:IMAGE, uas:IMAGE, bot:IMAGE, "
        "keyboard, mouse, tablet, wacom, serial[:SOCKET], braille[:SOCKET], audio[:WAV], net, ccid[:SOCKET], "
        "mtp:FOLDER, hub, redir:SOCKET; or a device of this computer: host:VENDOR:PRODUCT",
    )
    parser.add_argument(
        "--exec",
        metavar="'GUEST: COMMAND'",
        dest="commands",
        action="append",
        default=[],
        help="run a shell command in a guest once the routed devices are attached, print its output and end "
        "(repeatable); the first exit code that is not 0 becomes ours",
    )
    parser.add_argument("--console", metavar="GUEST", help="connect this terminal to a guest's console (end: Ctrl-])")
    _common.add_stage(parser)
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        help="for coming up (default: 120; with --stage what `router deploy` gives it)",
    )
    parser.add_argument("--exec-timeout", metavar="SECONDS", type=float, help="for each command (default: 300)")
    parser.add_argument("--logs", metavar="DIR", help="where consoles are logged (default: logs/ in the build folder)")
    parser.add_argument("--capture", metavar="FILE", help="write what crosses the switch as pcapng (split)")
    parser.add_argument("--junit", metavar="FILE", help="write a JUnit report: the boot and each --exec as a test case")
    parser.add_argument(
        "--report", metavar="FILE", help="write an HTML page of the run: time line, rates, drops, devices"
    )
    parser.add_argument("--json", action="store_true", help="events and results as JSON lines on stdout")


def run(args: argparse.Namespace) -> int:
    from router import files
    from router.control.timeline import Timeline
    from router.errors import DescriptionError
    from router.machines.qemu import session
    from router.machines.qemu.mode import check_mode, choose_mode
    from router.machines.qemu.session import RunOptions, parse_command
    from router.machines.qemu.usb import plugs_of
    from router.pipeline.build import build
    from router.plan.notes import kernel_notes
    from router.plan.stages import WHOLE

    if args.stage != WHOLE:
        return run_stage(args)
    progress = _common.Progress(quiet=args.json)
    planned = _common.plan(args.file, progress, emulated=True)
    model = planned.board.emulated
    plugs = plugs_of(args.usb, planned.plan)
    guests = [guest.name for guest in planned.plan.guests]
    options = RunOptions(
        commands=tuple(parse_command(text, guests) for text in args.commands),
        console=args.console,
        timeout=RunOptions.timeout if args.timeout is None else args.timeout,
        command_timeout=RunOptions.command_timeout if args.exec_timeout is None else args.exec_timeout,
        as_json=args.json,
        capture=Path(args.capture) if args.capture else None,
        junit=Path(args.junit) if args.junit else None,
        report=Path(args.report) if args.report else None,
    )
    options.check(guests)
    other = model is not None and not model.same_hardware
    folder = _common.build_folder(args, planned.plan.name + ("-emulated" if other else ""))
    mode = choose_mode(args.mode, planned)
    check_mode(mode, planned)
    logs = files.output_folder(Path(args.logs) if args.logs else folder / "logs")
    if options.capture is not None:
        if mode == "microkit":
            raise DescriptionError(
                "the switch's frames can be captured in a split run only", "--mode split", where="--capture"
            )
        files.output_folder(options.capture.parent)
    for kept in (options.junit, options.report):
        if kept is not None:
            files.output_folder(kept.parent)
    try:
        built = build(planned, folder, files.cache_folder(), progress, loader_image=mode == "microkit")
    finally:
        progress.done()
    timeline = Timeline(as_json=args.json)
    if mode == "microkit":
        running: Run = session.microkit_run(built, plugs, logs, timeline)
    else:
        running = session.split_run(built, plugs, logs, timeline, options.capture)
    if not args.json:
        head = headline(planned.plan.name, args.mode, mode)
        display.styled(f"{head}; logs in {logs}/", stream=sys.stderr)
        kernel = kernel_notes(planned.plan.config, planned.plan.sdk) if mode == "microkit" else ()
        for line in (*kernel, *caveats(planned, mode)):
            display.styled(f"note: {line}", stream=sys.stderr)
    return session.run(running, options)


def run_stage(args: argparse.Namespace) -> int:
    """A stage of the system in QEMU: ends when all that must be seen of it was seen."""
    from router import files
    from router.cli import _deployments
    from router.deploy import emulated
    from router.deploy.events import Reporter
    from router.deploy.plan import read_plan
    from router.deploy.prepare import make
    from router.deploy.stages import done
    from router.errors import DescriptionError, RouterError
    from router.machines.qemu.mode import check_mode

    for name in ("usb", "commands", "exec_timeout", "console", "capture", "junit", "report"):
        if getattr(args, name) not in (None, [], ""):
            option = "--exec" if name == "commands" else f"--{name.replace('_', '-')}"
            raise DescriptionError(f"{option} is for the whole system", "leave --stage out", where="--stage")
    if args.mode == "split":
        raise DescriptionError("a stage has a kernel to boot", "leave --mode out", where="--stage")
    progress = _common.Progress(quiet=args.json)
    planned = _common.plan(args.file, progress, emulated=True, stage=args.stage)
    check_mode("microkit", planned)
    model = planned.board.emulated
    other = model is not None and not model.same_hardware
    folder = _common.build_folder(args, planned.plan.name + ("-emulated" if other else ""))
    try:
        built = make(planned, folder, progress)
    finally:
        progress.done()
    assert built.loader_image is not None, "a build with an SDK"
    logs = files.output_folder(Path(args.logs) if args.logs else folder / "logs")
    deployment = emulated.patient(read_plan(folder, ours=True), args.timeout)
    reporter = Reporter(_deployments.as_json if args.json else _deployments.Display())
    if not args.json:
        display.styled(f"{planned.plan.name}: stage {args.stage}; logs in {logs}/", stream=sys.stderr)
    try:
        emulated.run_stage(built.plan, deployment, built.loader_image.path, logs, reporter)
    except RouterError as error:
        if args.json:
            reporter.failed(error)
        raise
    if args.json:
        reporter.say("result", ok=True)
    else:
        _common.say("stage", done(args.stage))
    return 0


def headline(name: str, asked: str, mode: str) -> str:
    """What is run and how; why, where the user left that open (asked: the value of --mode)."""
    auto = asked == "auto" and mode == "split"
    return f"{name}: {mode} run" + (", since no Microkit SDK is installed (router doctor)" if auto else "")


def caveats(planned: Planned, mode: str) -> list[str]:
    """What the run cannot tell about the board. mode: `microkit` or `split`."""
    board = planned.board
    slow = []
    if mode == "microkit" and planned.plan.config.startswith("smp-"):
        slow = [
            f"'{planned.plan.config}' runs {board.cores} emulated cores on the {os.cpu_count()} of this computer: it"
            " need not be faster than one core here, and says nothing about the speed of a board"
        ]
    if board.emulated is None:
        return slow
    machine = board.emulated.machine.split(",")[0]
    if board.emulated.same_hardware:
        return [*slow, *silence(board.emulated, machine)]
    return [
        *slow,
        f"this is QEMU's {machine}, not the {board.title}: they share the addresses of what this system uses",
        "the guests' device trees for this run leave out clocks, PHYs, power domains and pins, which QEMU lacks:"
        " that devices work here does not say that they work on the board",
    ]


def silence(model: EmulatedBoard, machine: str) -> list[str]:
    """What the machine has by name only."""
    if not model.silent:
        return []
    return [
        f"QEMU's {machine} has no model of {listing(model.silent)}: they read as zero, and the guest's drivers are"
        " content with that. Whether the devices behind them have power on the board, this run does not show"
    ]
