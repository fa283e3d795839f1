# SPDX-License-Identifier: BSD-2-Clause
"""Bring a board up with a built system and watch it boot.

The board comes from the lab file (docs/reference/lab-file.md). Its U-Boot loads the system by TFTP from a server that
runs for this deployment only (or over the serial line), verifies it and starts it; the deployment has succeeded when
every milestone of the boot was seen on the console.

  router deploy maaxboard.yaml
  router deploy maaxboard.yaml --on desk --dry-run
  router deploy maaxboard.yaml --via lab@bench --until 'usb 1-1: new high-speed'

Exit code 0 when the board is up, 2 when a file is wrong, 3 when this computer or the lab host lacks something, 4 when
the board failed or did not answer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from router import display
from router.cli import _common, _deployments

NAME = "deploy"
HELP = "load a system onto a board and watch it boot"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _deployments.add_system(parser)
    _deployments.add_board(parser)
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


def run(args: argparse.Namespace) -> int:
    from router.deploy import job as jobs
    from router.deploy import runner
    from router.deploy.bring_up import bring_up
    from router.deploy.events import Reporter
    from router.deploy.plan import with_patterns
    from router.errors import DescriptionError, RouterError

    folder, plan = _deployments.find_build(args, _common.Progress(quiet=args.json or args.dry_run))
    plan = with_patterns(plan, tuple(args.until), tuple(args.fail_on))
    board = _deployments.find_board(args, plan.board)
    log = Path(args.log) if args.log else _deployments.console_log(folder, board.board.name)
    options = jobs.DeployOptions(
        wait=args.wait,
        steal=args.steal,
        power=not args.no_power,
        save=args.save,
        catch_seconds=args.catch_timeout,
        boot_seconds=args.timeout,
        quiet_seconds=args.quiet_timeout,
        log=str(log.absolute()),
    )
    files = {item.file: str((folder / item.file).absolute()) for item in plan.payloads}
    job = jobs.Job(plan=plan, board=board.board, files=files, options=options)
    if args.resume and board.via is None:
        raise DescriptionError("--resume is for deployments through a lab host", hint="--via USER@HOST")
    if args.dry_run:
        if board.via:
            display.styled(f"# on lab host {board.via}")
        for line in runner.dry_run(job):
            display.styled(line)
        return 0
    reporter = Reporter(_deployments.as_json if args.json else _deployments.Display(args.console))
    try:
        bring_up(board.via, job, reporter, log, resume=args.resume)
    except RouterError as error:
        if args.json and reporter.last != "result":
            reporter.failed(error)
        raise
    if not args.json:
        _common.say("up", f"{plan.system} runs on {board.board.name}; console log: {log}")
    return 0
