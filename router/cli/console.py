"""Connect this terminal to a running board. Ctrl-] ends it.

Without --guest everything on the serial line is shown, guests' lines with their tags. With --guest NAME it is that
guest's console alone. FILE tells which guests there are; without one, only the whole line can be had.
"""

from __future__ import annotations

import argparse

from router.cli import _common, _deployments

NAME = "console"
HELP = "connect to a running board's console, or to one guest's"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _deployments.add_system(parser, optional=True)
    _deployments.add_board(parser)
    parser.add_argument("--guest", metavar="NAME", help="one guest's console")


def run(args: argparse.Namespace) -> int:
    from router.errors import DescriptionError
    from router.machines.board import job as jobs
    from router.machines.board.attach import ChannelStream, attach, index_of
    from router.machines.board.events import Reporter
    from router.machines.board.line import SerialLine
    from router.machines.board.lock import BoardLock
    from router.machines.board.plan import Consoles

    plan = None
    if args.file is not None:
        args.no_build = True
        _, plan = _deployments.find_build(args, _common.Progress())
    elif args.guest is not None:
        raise DescriptionError("--guest needs to know the system", hint="router console FILE --guest NAME")
    board = _deployments.find_board(args, plan.board if plan else None)
    job = _deployments.empty_job(board, jobs.Options(wait=args.wait, steal=args.steal), plan)
    consoles = plan.consoles if plan else Consoles()
    if args.guest is not None:
        index_of(consoles, args.guest)  # before the board is taken
    if board.via is not None:
        from router.machines.board.via import Lab, LabHost

        with LabHost(board.via) as host:
            lab = Lab(host)
            run = lab.prepare(job, Reporter(lambda _: None))
            attach(ChannelStream(host.channel(lab.command("console", run)), lab.error_in), consoles, args.guest)
        return 0
    baud = board.board.baud or job.plan.baud
    with (
        BoardLock(board.board.name, "console", wait=args.wait, steal=args.steal),
        SerialLine(board.board.serial, baud) as line,
    ):
        attach(line, consoles, args.guest)
    return 0
