# SPDX-License-Identifier: BSD-2-Clause
"""Agree to what a folder from elsewhere would do: commands of its lab file, what its description reads outside it, or
what its build sends to a board.

FILE: a boards.yaml in the folder of a description may come from anywhere, and it names shell commands and devices of
this computer. Your own ~/.config/router/boards.yaml, and a file named by --lab or ROUTER_LAB, need no such agreement.
A description reads files outside its folder (`kernel`, `initramfs`, `device_tree`) only once you agree; that agreement
is to the place of the description and of the file, and lasts when you change them.
BUILD: a build folder that another computer or another user made is not deployed before you agree to it. What you build
yourself needs none, and `router run` makes anew whatever it boots and you have not made.

What is in it is shown first. On a terminal you are asked then; elsewhere typing the command is the agreement. It is to
the content that was shown (of a lab file, also to its place); a change asks again.

Exit code 1 when you do not agree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from router import display
from router.cli import _common

NAME = "trust"
HELP = "agree to a lab file, to what a description reads outside its folder, or to a build folder from elsewhere"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = "the lab file, usually boards.yaml, the description, or the build folder"
    parser.add_argument("file", metavar="FILE|BUILD", help=what)


def run(args: argparse.Namespace) -> int:
    from router.description.load import is_description

    path = Path(args.file)
    if path.is_dir():
        return 0 if trust_build(path) else 1
    return 0 if (trust_description(path) if is_description(path) else trust_lab(path)) else 1


def trust_description(path: Path) -> bool:
    """Show the files that a description reads outside its folder, and record the agreement; whether the user agrees."""
    from router.description.load import agree_to_outside_files, outside_files

    found = outside_files(path)
    if not found:
        _common.say("unchanged", f"{path} reads no file outside its folder")
        return True
    for one in found:
        display.styled(f"  reads {one}")
    return agreed(path) and record(path, lambda: agree_to_outside_files(path, found))


def trust_lab(path: Path) -> bool:
    """Show a lab file, and record the agreement to it; whether the user agrees."""
    from router.lab import file as lab
    from router.lab.records import to_json

    content, boards = lab.look_at(path)
    for one in boards:
        board = to_json(one.board)
        display.styled(f"{board.pop('name'):<16} {board.pop('serial')}", f" via {one.via}" if one.via else "")
        show(board)
    return agreed(path) and record(path, lambda: lab.trust(path, content))


def trust_build(folder: Path) -> bool:
    """Show what a build folder sends to the board and waits for, and record the agreement; whether the user agrees."""
    from router.deploy.plan import look_at, trust_plan
    from router.lab.records import to_json

    content, plan = look_at(folder)
    display.styled(f"{plan.system} for {plan.board}")
    for item in plan.payloads:
        display.styled(f"  {item.file}  {item.size} bytes at {item.address:#x}, SHA-256 {item.sha256}")
    for command in (*plan.prepare, plan.start):
        display.styled(f"  => {command}")
    shown = ("system", "board", "payloads", "prepare", "start")
    show({name: value for name, value in to_json(plan).items() if name not in shown})
    return agreed(folder) and record(folder, lambda: trust_plan(content))


def show(fields: Mapping[str, Any]) -> None:
    """Every field that has a value, by its name: nothing is agreed to that was not shown."""
    for name, value in flat(fields):
        display.styled(f"  {name}: {value}")


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """`power cycle` and `milestones[0] pattern` with their values."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from flat(one, f"{name} {key}".strip())
    elif isinstance(value, (list, tuple)):
        for number, one in enumerate(value):
            yield from flat(one, f"{name}[{number}]")
    elif value is not None:
        yield name, value


def agreed(path: Path) -> bool:
    """The user's answer on a terminal. Elsewhere the command itself is the answer: who types it has decided."""
    if not sys.stdin.isatty():
        return True
    display.styled(f"Do you agree to {path}, as shown? Type y and Enter; all else records nothing.", stream=sys.stderr)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    _common.say("refused", f"{path}: nothing was recorded")
    return False


def record(path: Path, trust: Callable[[], None]) -> bool:
    """Record the agreement, and say so."""
    trust()
    _common.say("trusted", f"{path}, as it was shown")
    return True
