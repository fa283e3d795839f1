# SPDX-License-Identifier: BSD-2-Clause
"""Watch a running system live: its guests, its devices, what goes over their roads, what the switch drops.

FILE (a description or a build folder) names the system; without, it is the only one that `router run` runs here. With
--on BOARD it is the system that `router deploy` has brought up on that board of the lab file.

The cursor keys and Tab choose a line. a attaches the device of the devices' table, d detaches it, t takes it from the
guest that has it, c opens a guest's console (Ctrl-] comes back), r asks the guests about devices at once, q ends.

Each guest runs a small command in every interval. For scripts: `router usb list --json`, `router usb watch --json`.

Examples:

  router top
  router top qemu.yaml
  router top --on desk --interval 5
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from router.cli import _running

NAME = "top"
HELP = "watch a running system live, and attach, detach and take devices by key"
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.5, 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="a description or a build folder: its system")
    _running.add_arguments(parser)
    parser.add_argument(
        "--interval", metavar="SECONDS", type=float, default=2.0, help="between two looks, 0.5 to 30 (default: 2)"
    )


def run(args: argparse.Namespace) -> int:
    from router.errors import DescriptionError, HostError

    if not MIN_INTERVAL_S <= args.interval <= MAX_INTERVAL_S:
        raise DescriptionError(
            f"an interval of {args.interval:g} s",
            hint=f"seconds, {MIN_INTERVAL_S:g} to {MAX_INTERVAL_S:g}",
            where="--interval",
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") in (None, "dumb"):
        raise DescriptionError(
            "router top needs a terminal in which the cursor can be moved",
            hint="for scripts: router usb list --json, router usb watch --json",
        )
    try:
        import textual
    except ImportError:
        raise HostError(
            "router top needs the Python library textual, which is not installed",
            hint="pip install 'sel4-usb-router[top]'",
        ) from None
    del textual
    plan = None
    if args.file is not None and (args.on or args.lab or args.via):
        from router.cli import _common, _deployments

        args.no_build, args.output = True, None
        _, plan = _deployments.find_build(args, _common.Progress())
    elif args.file is not None:
        args.system = system_of(args.file, args.system)
    from router.cli.console import converse
    from router.overview.screen import Top
    from router.overview.watcher import Watcher

    with _running.connector(args, plan) as connect:
        with connect():
            pass  # an error now is one for this terminal, not for the screen
        with Watcher(connect, args.interval) as watcher:
            for stale in ("COLUMNS", "LINES"):  # a shell's; Textual prefers them to the terminal's own size
                os.environ.pop(stale, None)
            top = Top(watcher, connect, lambda guest: converse(connect, guest))
            top.run()
            return top.return_code or 0


def system_of(file: str, system: str | None) -> str:
    """The name of a description's or a build folder's system. DescriptionError when --system names another one."""
    from router.cli import _common
    from router.errors import DescriptionError

    folder = Path(file)
    name = built_system(folder) if folder.is_dir() else _common.load(file).description.system
    if system not in (None, name):
        raise DescriptionError(f"{file} is '{name}', not '{system}'", hint="leave one of them out", where="--system")
    return name


def built_system(folder: Path) -> str:
    """The name of the system in a build folder."""
    from router.errors import DescriptionError

    try:
        name = json.loads((folder / "manifest.json").read_text())["system"]
    except (OSError, ValueError, KeyError, TypeError):
        name = None
    if not isinstance(name, str):
        raise DescriptionError("this is not a build folder", hint="name a description, or build it", where=str(folder))
    return name
