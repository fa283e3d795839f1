# SPDX-License-Identifier: BSD-2-Clause
"""What the subcommands for real boards share: finding the build, the lab file and the board, and showing events."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from router import display
from router.cli import _common

if TYPE_CHECKING:
    from router.deploy.events import DeployEvent
    from router.deploy.plan import DeployPlan
    from router.lab.file import LabBoard


def add_system(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The positional FILE, and where its build is."""
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?" if optional else None,
        help="a description (a path, or the name of a shipped one), or a build folder",
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="the build folder (default: build/SYSTEM)")
    parser.add_argument("--no-build", action="store_true", help="take the build folder as it is")


def add_board(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Which board, and through which host. several: also a list of boards."""
    parser.add_argument(
        "--on",
        metavar="BOARD[,BOARD]" if several else "BOARD",
        help=f"{'one or more boards' if several else 'a board'} of the lab file (default: the only one that fits)",
    )
    parser.add_argument("--lab", metavar="FILE", help="the lab file (default: ~/.config/router/boards.yaml)")
    parser.add_argument("--via", metavar="USER@HOST", help="the lab host that the board is wired to")
    parser.add_argument("--wait", metavar="SECONDS", type=float, default=0.0, help="wait for a board that is in use")
    parser.add_argument("--steal", action="store_true", help="take a board that is in use away from its holder")


def find_build(args: argparse.Namespace, progress: _common.Progress) -> tuple[Path, DeployPlan]:
    """The build folder and its deployment plan; a description is built first where that is needed.

    HostError without an SDK to build with: before anything is changed. DescriptionError when the folder is there
    already, and this user has neither made it nor agreed to it; except for `--dry-run`, which shows what there is to
    agree to. DescriptionError as well when `--no-build` finds the build of another system or stage.
    """
    from router.deploy.plan import FILE_NAME, read_plan
    from router.errors import DescriptionError, HostError
    from router.plan.stages import WHOLE, stage_name

    folder, stage = Path(args.file), getattr(args, "stage", WHOLE)
    if folder.is_dir() and stage != WHOLE:
        raise DescriptionError(
            f"{folder} is a build folder, and a stage is made from a description",
            hint=f"router build FILE --stage {stage} makes a build folder of that stage alone",
            where="--stage",
        )
    if folder.is_dir() or args.no_build:
        wanted = None
        if not folder.is_dir():
            wanted = stage_name(_common.load(args.file).description.system, stage)
            folder = _common.build_folder(args, wanted)
        there = read_plan(folder, ours=not getattr(args, "dry_run", False))
        if wanted is not None and there.system != wanted:
            raise DescriptionError(
                f"this build is of '{there.system}', and '{wanted}' is asked for",
                hint="leave --no-build out, and it is built; or name the folder of its build: -o DIR",
                where=str(folder),
            )
        return folder, there
    from router.deploy.prepare import make

    planned = _common.plan(args.file, progress, stage=stage)
    folder = _common.build_folder(args, planned.plan.name)
    if planned.sdk is None:
        other = f"; --no-build takes the build that is in {folder}" if (folder / FILE_NAME).is_file() else ""
        raise HostError(
            "there is no loader.img to deploy: making one needs a Microkit SDK",
            hint=f"router doctor says how to get one{other}",
        )
    try:
        make(planned, folder, progress)
    finally:
        progress.done()
    return folder, read_plan(folder, ours=True)


def console_log(folder: Path, board: str) -> Path:
    """Where a board's console is kept in a build folder. HostError when the folder for it leads elsewhere."""
    from router.errors import HostError

    logs = folder / "logs"
    if logs.is_symlink() or (logs.exists() and not logs.is_dir()):
        raise HostError(
            "this is not a folder but a symbolic link, a file or a device, and the console's log would go through it",
            hint="remove it, or name another place: --log FILE",
            where=str(logs),
        )
    return logs / f"console-{board}.log"


def find_board(args: argparse.Namespace, kind: str | None) -> LabBoard:
    """The board that the command line means."""
    return find_boards(args, [args.on], kind)[0]


def find_boards(args: argparse.Namespace, names: Sequence[str | None], kind: str | None) -> list[LabBoard]:
    """The boards of these names (None: the only one that fits); DescriptionError when one is no board, or twice."""
    import dataclasses

    from router.errors import DescriptionError
    from router.lab import file as lab

    folder = Path(args.file).parent if getattr(args, "file", None) else Path()
    file = lab.find(args.lab, folder)
    boards = lab.load(file)
    found = [lab.choose(boards, name, kind, file.path) for name in names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DescriptionError(f"board '{twice}' is named twice", hint="a board runs one system", where="--on")
    for one in found:
        if args.via and one.board.labgrid is not None:
            raise DescriptionError(
                f"board '{one.board.name}' is a place of labgrid, whose exporter is its host",
                hint="leave --via out",
                where="--via",
            )
    return [dataclasses.replace(one, via=args.via) if args.via else one for one in found]


class Display:
    """Shows events to people: steps with their times, the boot as a time line, progress on a live line.

    name: of the board, in front of each line where there are several; there is no live line then.
    """

    def __init__(self, console: bool = False, name: str = "") -> None:
        self._live = display.is_live() and not name
        self._name = f"{name:<16} " if name else ""
        self._console = console
        self._shown = time.monotonic()
        self._dirty = False

    def __call__(self, event: DeployEvent) -> None:
        data = event.data
        at = f"{event.at:7.2f} s"
        match event.kind:
            case "done":
                text = f"  {data['text']}" if data["text"] else ""
                self._print(f"{at}  {data['name']:<24} {data['seconds']:.2f} s{text}")
            case "milestone":
                self._print(f"{at}  ", ("●", _common.GREEN), f" {data['name']:<22} +{data['seconds']:.2f} s")
            case "ask":
                self._print((f"{at}  → {data['text']}", _common.BOLD))
            case "warning":
                self._print((f"{at}  warning: {data['text']}", _common.YELLOW))
            case "note":
                self._print(f"{at}  {data['text']}")
            case "progress":
                self._progress(at, str(data["name"]), int(data["done"]), int(data["size"]))
            case "console" if self._console:
                self._print(f"{'':>9}  | {data['text']}")
            case _:
                return

    def _progress(self, at: str, name: str, done: int, size: int) -> None:
        text = f"{at}  {name} {done / 1e6:.1f} of {size / 1e6:.1f} MB ({done / max(size, 1):.0%})"
        if self._live:
            display.live(text)
            self._dirty = True
        elif time.monotonic() - self._shown > 2.0:
            self._shown = time.monotonic()
            display.styled(self._name, text, stream=sys.stderr)

    def _print(self, *parts: str | tuple[str, str]) -> None:
        if self._dirty:
            display.live("")
            self._dirty = False
        display.styled(self._name, *parts)


def as_json(event: DeployEvent, board: str | None = None) -> None:
    """Shows events to programs: a line of JSON each, with the board where there are several."""
    row = json.loads(event.to_line())
    print(json.dumps(row if board is None else {"board": board, **row}), flush=True)
