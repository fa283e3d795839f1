# SPDX-License-Identifier: BSD-2-Clause
"""Take a system off a board: end a deployment that still runs on the lab host, remove its files from the TFTP folder
and switch the board off, as far as the lab file has a way to."""

from __future__ import annotations

import argparse

from router.cli import _common, _deployments

NAME = "undeploy"
HELP = "end a deployment, remove what it left and switch the board off"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _deployments.add_system(parser)
    _deployments.add_board(parser)


def run(args: argparse.Namespace) -> int:
    import contextlib

    from router.deploy import job as jobs
    from router.deploy import runner
    from router.deploy.bring_up import empty_job
    from router.deploy.events import Reporter, stoppable
    from router.errors import HostError
    from router.lab import power
    from router.lab.taken import taken

    _, plan = _deployments.find_build(args, _common.Progress())
    board = _deployments.find_board(args, plan.board)
    job = empty_job(board, jobs.DeployOptions(wait=args.wait, steal=args.steal), plan)
    if board.via is not None:
        from router.deploy.lab_connection import LabHost
        from router.deploy.lab_host import Lab

        with LabHost(board.via) as host:
            lab = Lab(host)
            lab.install()
            with contextlib.suppress(HostError):  # there may have been no run
                lab.call("stop", lab.last(board.board.name))
            run = lab.prepare(job, Reporter(lambda _: None))
            gone = lab.withdraw(run)
            can_switch = power.can(board.board, "off")
            if can_switch:
                lab.call("power", run, "off")
    else:
        with (
            stoppable("the board is free"),
            taken(board.board, "undeploying", wait=args.wait, steal=args.steal) as held,
        ):
            gone = runner.withdraw(job)
            can_switch = "off" in held.actions
            if can_switch:
                held.switch("off")
    for name in gone:
        _common.say("removed", name)
    _common.say(
        "off" if can_switch else "note",
        f"{board.board.name} is switched off" if can_switch else f"{board.board.name} has no `power: off`: it runs on",
    )
    return 0
