# SPDX-License-Identifier: BSD-2-Clause
"""Bring a board up with a built system and watch it boot.

The board comes from the lab file (docs/reference/lab-file.md). Its U-Boot loads the system by TFTP from a server that
runs for this deployment only (or over the serial line), verifies it and starts it; the deployment has succeeded when
every milestone of the boot was seen on the console.

  router deploy maaxboard.yaml
  router deploy maaxboard.yaml --on desk --dry-run
  router deploy maaxboard.yaml --on rack-1,rack-2,rack-3
  router deploy maaxboard.yaml --stage 1
  router deploy maaxboard.yaml --via lab@bench --until 'usb 1-1: new high-speed'

Exit code 0 when the board is up, 2 when a file is wrong, 3 when this computer or the lab host lacks something, 4 when
the board failed or did not answer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from router import display
from router.cli import _common, _deployments

if TYPE_CHECKING:
    from router.deploy.events import DeployEvent
    from router.deploy.job import Job
    from router.deploy.plan import DeployPlan
    from router.deploy.several import Outcome
    from router.lab.board import Board
    from router.lab.file import LabBoard

NAME = "deploy"
HELP = "load a system onto a board and watch it boot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _deployments.add_system(parser)
    _deployments.add_board(parser, several=True)
    _common.add_stage(parser)
    parser.add_argument("--dry-run", action="store_true", help="print every command that would be sent; send none")
    parser.add_argument(
        "--no-power", action="store_true", help="do not power-cycle: use the prompt, or ask for a reset"
    )
    parser.add_argument("--timeout", metavar="SECONDS", type=float, help="from the start to the last milestone")
    parser.add_argument("--quiet-timeout", metavar="SECONDS", type=float, help="the longest silence while booting")
    parser.add_argument("--catch-timeout", metavar="SECONDS", type=float, default=30.0, help="for U-Boot's prompt")
    parser.add_argument("--until", metavar="REGEX", action="append", default=[], help="also wait for this (repeatable)")
    parser.add_argument(
        "--fail-on", metavar="REGEX", action="append", default=[], help="also fail on this (repeatable)"
    )
    parser.add_argument("--save", action="store_true", help="save U-Boot's environment (default: nothing is saved)")
    parser.add_argument("--log", metavar="FILE", help="the raw console (default: logs/console-BOARD.log in the build)")
    parser.add_argument("--resume", action="store_true", help="follow the latest deployment through a lab host again")
    parser.add_argument("--console", action="store_true", help="show the console while it boots")
    parser.add_argument("--json", action="store_true", help="events as JSON lines on stdout")
    parser.add_argument("--served", metavar="FOLDER", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from router.deploy import runner
    from router.deploy.bring_up import bring_up
    from router.deploy.events import Reporter
    from router.deploy.plan import with_patterns
    from router.deploy.stages import done
    from router.errors import DescriptionError, RouterError
    from router.plan.stages import WHOLE

    folder, plan = _deployments.find_build(args, _common.Progress(quiet=args.json or args.dry_run))
    plan = with_patterns(plan, tuple(args.until), tuple(args.fail_on))
    names = args.on.split(",") if args.on else [None]
    boards = _deployments.find_boards(args, names, plan.board)
    if args.log and len(boards) > 1:
        raise DescriptionError("--log names one file, for several boards", hint="leave it out: each has its own")
    each = [_job(args, folder, plan, board.board) for board in boards]
    if args.resume and any(board.via is None for board in boards):
        raise DescriptionError("--resume is for deployments through a lab host", hint="--via USER@HOST")
    if args.dry_run:
        for board, job in zip(boards, each, strict=True):
            if board.via:
                display.styled(f"# on lab host {board.via}")
            for line in runner.dry_run(job):
                display.styled(line)
        return 0
    if len(boards) > 1:
        return _several(args, folder, boards, each)
    (board,), (job,), log = boards, each, Path(each[0].options.log or "")
    reporter = Reporter(_deployments.as_json if args.json else _deployments.Display(args.console))
    try:
        bring_up(board.via, job, reporter, log, resume=args.resume)
    except RouterError as error:
        if args.json and reporter.last != "result":
            reporter.failed(error)
        raise
    if not args.json:
        _common.say("up", f"{plan.system} runs on {board.board.name}; console log: {log}")
        if args.stage != WHOLE:
            _common.say("stage", done(args.stage))
    return 0


def _job(args: argparse.Namespace, folder: Path, plan: DeployPlan, board: Board) -> Job:
    """The deployment of a build folder to one board."""
    from router.deploy import job as jobs

    log = Path(args.log) if args.log else _deployments.console_log(folder, board.name)
    options = jobs.DeployOptions(
        wait=args.wait,
        steal=args.steal,
        power=not args.no_power,
        save=args.save,
        served=args.served,
        catch_seconds=args.catch_timeout,
        boot_seconds=args.timeout,
        quiet_seconds=args.quiet_timeout,
        log=str(log.absolute()),
    )
    files = {item.file: str((folder / item.file).absolute()) for item in plan.payloads}
    return jobs.Job(plan=plan, board=board, files=files, options=options)


def _several(args: argparse.Namespace, folder: Path, boards: Sequence[LabBoard], each: Sequence[Job]) -> int:
    """Deploy to several boards at once; their events as they come, and in the end a line for each."""
    from router.deploy import several

    shown = {one.board.name: _deployments.Display(args.console, one.board.name) for one in boards}

    def show(name: str, event: DeployEvent) -> None:
        if args.json:
            _deployments.as_json(event, name)
        else:
            shown[name](event)

    jobs = {job.board.name: job for job in each}
    outcomes = several.deploy_each(jobs, boards, _arguments(args, folder), show)
    if not args.json:
        for one in outcomes:
            _show_outcome(one)
    return several.exit_code(outcomes)


def _show_outcome(one: Outcome) -> None:
    """One board's time line."""
    state = ("up    ", _common.GREEN) if one.error is None else ("failed", _common.RED)
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in one.steps)
    display.styled(f"{one.board:<16} ", state, f" {one.seconds:7.2f} s  {steps}")
    for line in [] if one.error is None else str(one.error).split("\n"):
        display.styled(line, stream=sys.stderr)


def _arguments(args: argparse.Namespace, folder: Path) -> list[str]:
    """The command line of one board's deployment, without the board."""
    from router.lab import file as lab

    # Found once: what is in the description's folder is not in the build's.
    file = lab.find(args.lab, Path(args.file).parent).path.absolute()
    words = [str(folder.absolute()), "--no-build", "--json", "--lab", str(file)]
    for name in ("via", "wait", "timeout", "quiet_timeout", "catch_timeout"):
        value = getattr(args, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    for name in ("until", "fail_on"):
        words += [f"--{name.replace('_', '-')}={pattern}" for pattern in getattr(args, name)]
    return words + [
        f"--{name.replace('_', '-')}" for name in ("steal", "no_power", "save", "resume") if getattr(args, name)
    ]
