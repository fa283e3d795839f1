# SPDX-License-Identifier: BSD-2-Clause
"""Agree to what a folder from elsewhere would do: the commands of its lab file, or what its build sends to a board.

FILE: a boards.yaml in the folder of a description may come from anywhere, and it names shell commands and devices of
this computer. Your own ~/.config/router/boards.yaml, and a file named by --lab or ROUTER_LAB, need no such agreement.
BUILD: a build folder that another computer or another user made is not deployed before you agree to it. What you build
yourself needs none, and `router run` makes anew whatever it boots and you have not made.

The agreement is to the content as it is now (of a lab file, also to its place); a change asks again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from router import display
from router.cli import _common

NAME = "trust"
HELP = "agree to a folder's lab file, or to a build folder from elsewhere"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE|BUILD", help="the lab file, usually boards.yaml, or the build folder")


def run(args: argparse.Namespace) -> int:
    path = Path(args.file)
    if path.is_dir():
        trust_build(path)
    else:
        trust_lab(path)
    return 0


def trust_lab(path: Path) -> None:
    """Agree to a lab file; what it would run is shown."""
    from router.lab import file as lab

    for one in lab.trust(path):
        board = one.board
        commands = [f"{name}: {text}" for name in ("on", "off", "cycle") if (text := getattr(board.power, name))]
        display.styled(f"{board.name:<16} {board.serial}", f" via {one.via}" if one.via else "")
        for command in commands:
            display.styled(f"{'':<16} power {command}")
    _common.say("trusted", f"{path}, as it is now")


def trust_build(folder: Path) -> None:
    """Agree to a build folder; what it sends to the board is shown."""
    from router.deploy.plan import trust_plan

    plan = trust_plan(folder)
    display.styled(f"{plan.system} for {plan.board}")
    for item in plan.payloads:
        display.styled(f"  {item.file}  {item.size} bytes at {item.address:#x}, SHA-256 {item.sha256}")
    for command in (*plan.prepare, plan.start):
        display.styled(f"  => {command}")
    _common.say("trusted", f"{folder}, as it is now")
