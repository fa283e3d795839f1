# SPDX-License-Identifier: BSD-2-Clause
"""List the boards of the lab file, their owners, and what prevents their use.

Nothing is sent to a board. Boards behind lab hosts are probed there. Without a lab file the serial devices of this
computer are listed, as a start for one. Exit code 0 when every board is usable, 4 otherwise.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from router import display
from router.cli import _common

if TYPE_CHECKING:
    from router.lab.file import LabBoard

NAME = "boards"
HELP = "list and probe the boards of the lab file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lab", metavar="FILE", help="the lab file (default: ~/.config/router/boards.yaml)")
    parser.add_argument("--no-probe", action="store_true", help="list only")
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def run(args: argparse.Namespace) -> int:
    import json
    from pathlib import Path

    from router.console.serial_port import candidates
    from router.errors import DescriptionError
    from router.lab import file as lab

    try:
        file = lab.find(args.lab, Path())
    except DescriptionError:
        for device in candidates():
            _common.say("serial", device)
        raise
    rows = []
    for one in lab.load(file):
        row = {"name": one.board.name, "board": one.board.kind, "serial": _line(one), "via": one.via}
        rows.append(row | ({} if args.no_probe else _probe(one)))
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            _show(row)
    return 4 if any(row.get("troubles") for row in rows) else 0


def _line(one: LabBoard) -> str:
    """Where the board's serial line is."""
    labgrid = one.board.labgrid
    return one.board.serial if labgrid is None else f"labgrid place {labgrid.place}"


def _probe(one: LabBoard) -> dict[str, Any]:
    from router.errors import RouterError
    from router.lab.probe import probe
    from router.lab.records import to_json

    if one.via is None:
        return dict(to_json(probe(one.board)))
    from router.deploy.bring_up import empty_job
    from router.deploy.lab_connection import LabHost
    from router.deploy.lab_host import probe_via

    try:
        with LabHost(one.via) as host:
            return dict(to_json(probe_via(host, empty_job(one))))
    except RouterError as error:
        return {"troubles": [f"{error.message} ({error.hint})" if error.hint else error.message]}


def _show(row: dict[str, Any]) -> None:
    via = f" via {row['via']}" if row["via"] else ""
    state: str | tuple[str, str] = ""
    if "troubles" in row:
        state = "  ready"
        if row.get("held"):
            state = f"  held by {row['held']}"
        if row["troubles"]:
            state = ("  not usable", _common.RED)
    display.styled(f"{row['name']:<16} {row['board']:<12} {row['serial']}{via}", state)
    for trouble in row.get("troubles", ()):
        display.styled(f"{'':<16} {trouble}")
