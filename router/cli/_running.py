# SPDX-License-Identifier: BSD-2-Clause
"""What the subcommands for running systems share: the choice of a system, in QEMU here or on a board anywhere."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router.control.client import Connection
    from router.deploy.plan import DeployPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which running system."""
    parser.add_argument("--system", metavar="NAME", help="which running system (default: the only one)")
    parser.add_argument("--on", metavar="BOARD", help="the system on a board of the lab file")
    parser.add_argument("--lab", metavar="FILE", help="the lab file (default: ~/.config/router/boards.yaml)")
    parser.add_argument("--via", metavar="USER@HOST", help="the lab host that the board is wired to")


@contextmanager
def connector(args: argparse.Namespace, plan: DeployPlan | None = None) -> Iterator[Callable[[], Connection]]:
    """Opens connections to the chosen system. plan: what runs on the board (None: as last deployed)."""
    from router.control.client import Connection, choose
    from router.errors import DescriptionError

    if not (args.on or args.lab or args.via):
        system = choose(args.system)
        yield lambda: Connection(system)
        return
    if getattr(args, "system", None):
        raise DescriptionError("--system and --on exclude each other", hint="--on BOARD means a board of the lab file")
    from router.cli import _deployments
    from router.deploy.bring_up import connections, empty_job
    from router.deploy.job import DeployOptions

    board = _deployments.find_board(args, plan.board if plan else None)
    options = DeployOptions(wait=getattr(args, "wait", 0.0), steal=getattr(args, "steal", False))
    name = f"{plan.system} on {board.board.name}" if plan else f"system on {board.board.name}"
    with connections(board.via, empty_job(board, options, plan), name) as connect:
        yield connect
