# SPDX-License-Identifier: BSD-2-Clause
"""Connect this terminal to a running board, or to a guest of a running system. Ctrl-] ends it.

With --guest NAME it is that guest's console: of the only system that `router run` runs here (--system NAME: of that
one), or with FILE or --on of the system on a board. Others may use the same system meanwhile: `router usb`, `router
exec`, and further consoles. FILE says which system is on the board, where `router deploy` has not put it there.

Without --guest everything on the board's serial line is shown as it is, guests' lines with their tags, and no one
else can use the board meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from router import display
from router.cli import _common, _deployments, _running

if TYPE_CHECKING:
    from router.control.client import Connection
    from router.deploy.plan import DeployPlan

NAME = "console"
HELP = "connect to a running board's console, or to a guest's"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _deployments.add_system(parser, optional=True)
    _deployments.add_board(parser)
    parser.add_argument("--system", metavar="NAME", help="with --guest: a system that `router run` runs")
    parser.add_argument("--guest", metavar="NAME", help="one guest's console")


def run(args: argparse.Namespace) -> int:
    from router.errors import DescriptionError

    plan = None
    if args.file is not None:
        args.no_build = True
        _, plan = _deployments.find_build(args, _common.Progress())
    if args.guest is not None:
        return guests_console(args, plan)
    if args.system is not None:
        raise DescriptionError("which guest?", hint=f"router console --system {args.system} --guest NAME")
    return whole_line(args, plan)


def guests_console(args: argparse.Namespace, plan: DeployPlan | None) -> int:
    """The terminal is one guest's console."""
    from router.cli._deployments import find_board
    from router.errors import DescriptionError

    if plan is not None:
        if plan.facts is None or args.guest not in plan.facts.names:
            known = ", ".join(plan.facts.names) if plan.facts else "none: its line is not shared"
            raise DescriptionError(f"no guest '{args.guest}'", hint=f"guests: {known}")
        args.on = args.on or find_board(args, plan.board).board.name
    with _running.connector(args, plan) as connect:
        converse(connect, args.guest)
    print(file=sys.stderr)
    return 0


def converse(connect: Callable[[], Connection], guest: str) -> None:
    """The terminal is a guest's console until Ctrl-], or until the system stops."""
    from router.console import terminal
    from router.errors import RouterError

    heard = time.monotonic()

    def show(data: bytes) -> None:
        nonlocal heard
        heard = time.monotonic()
        terminal.show_raw(data)

    def resize(columns: int, lines: int) -> None:
        with contextlib.suppress(RouterError), connect() as other:
            other.execute(guest, terminal.size_command(columns, lines))

    with connect() as system:
        console = system.console(guest, show)
        display.styled(f"console of {guest}; Ctrl-] leaves it", stream=sys.stderr)
        with terminal.sized(resize):
            terminal.converse(console.send, console.ended, lambda: heard, console.close)


def whole_line(args: argparse.Namespace, plan: DeployPlan | None) -> int:
    """The terminal is the board's serial line."""
    from router.console.attach import ChannelStream, attach
    from router.deploy import job as jobs
    from router.deploy.bring_up import empty_job
    from router.deploy.events import Reporter, stoppable
    from router.lab.taken import taken

    board = _deployments.find_board(args, plan.board if plan else None)
    job = empty_job(board, jobs.DeployOptions(wait=args.wait, steal=args.steal), plan)
    if board.via is not None:
        from router.deploy.lab_connection import LabHost
        from router.deploy.lab_host import Lab

        with LabHost(board.via) as host:
            lab = Lab(host)
            run = lab.prepare(job, Reporter(lambda _: None))
            attach(ChannelStream(host.channel(lab.command("console", run)), lab.error_in))
        return 0
    with (
        stoppable("the board is free"),
        taken(board.board, "console", wait=args.wait, steal=args.steal) as held,
        held.line(job.plan.baud) as line,
    ):
        attach(line)
    return 0
