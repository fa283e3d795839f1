# SPDX-License-Identifier: BSD-2-Clause
"""Switch a board by the commands that the lab file has for it."""

from __future__ import annotations

import argparse

from router.cli import _common, _deployments

NAME = "power"
HELP = "switch a board on or off, or off and on again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("on", "off", "cycle"))
    _deployments.add_board(parser)


def run(args: argparse.Namespace) -> int:
    from router.deploy import job as jobs
    from router.deploy.bring_up import empty_job
    from router.deploy.events import Reporter, stoppable
    from router.lab import power
    from router.lab.taken import taken

    board = _deployments.find_board(args, None)
    if board.board.labgrid is None:
        power.commands(board.board, args.action)
    if board.via is not None:
        from router.deploy.lab_connection import LabHost
        from router.deploy.lab_host import Lab

        job = empty_job(board, jobs.DeployOptions(wait=args.wait, steal=args.steal))
        with LabHost(board.via) as host:
            lab = Lab(host)
            lab.call("power", lab.prepare(job, Reporter(lambda _: None)), args.action)
    else:
        doing = f"power {args.action}"
        with (
            stoppable("the board is free"),
            taken(board.board, doing, wait=args.wait, steal=args.steal) as held,
        ):
            held.switch(args.action)
    _common.say(args.action, board.board.name)
    return 0
