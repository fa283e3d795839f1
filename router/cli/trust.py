# SPDX-License-Identifier: BSD-2-Clause
"""Agree to the commands and devices that a folder's lab file names.

A boards.yaml in the folder of a description may come from anywhere, and it names shell commands and devices of this
computer. It is used only after you have read it and agreed to it, as it is now and where it is now; a change asks
again. Your own ~/.config/router/boards.yaml, and a file named by --lab or ROUTER_LAB, need no such agreement.
"""

from __future__ import annotations

import argparse

from router import display
from router.cli import _common

NAME = "trust"
HELP = "agree to the commands and devices of a folder's lab file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the lab file, usually boards.yaml")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from router.lab import file as lab

    path = Path(args.file)
    for one in lab.trust(path):
        board = one.board
        commands = [f"{name}: {text}" for name in ("on", "off", "cycle") if (text := getattr(board.power, name))]
        display.styled(f"{board.name:<16} {board.serial}", f" via {one.via}" if one.via else "")
        for command in commands:
            display.styled(f"{'':<16} power {command}")
    _common.say("trusted", f"{path}, as it is now")
    return 0
