# SPDX-License-Identifier: BSD-2-Clause
"""What several subcommands share: progress on stderr, colours where a terminal wants them, finding a description."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from router import display

if TYPE_CHECKING:
    from router.description.load import LoadedDescription
    from router.pipeline.inputs import Planned


BOLD, RED, GREEN, YELLOW = "1", "31", "32", "33"
"""SGR codes (ECMA-48, 8.3.117)."""


class Progress:
    """Says on stderr what is being done when it takes longer than a moment.

    On a terminal one line is rewritten; elsewhere every step is a line of its own.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = display.is_live()
        self._start = time.monotonic()

    def __call__(self, step: str) -> None:
        if self._quiet:
            return
        line = f"{time.monotonic() - self._start:6.1f} s  {step}"
        if self._live:
            display.live(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def done(self) -> None:
        """Clear the live line."""
        if self._live and not self._quiet:
            display.live("")


def add_description(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """The positional FILE."""
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?" if optional else None,
        help="a description: a path, or the name of a shipped one (maaxboard.yaml)",
    )


def load(name: str) -> LoadedDescription:
    """Find and read a description."""
    from router.description.load import find_description
    from router.description.load import load as read

    return read(find_description(name))


def add_stage(parser: argparse.ArgumentParser) -> None:
    """Which part of the system."""
    parser.add_argument(
        "--stage",
        metavar="N",
        type=int,
        choices=range(1, 6),
        default=5,
        help="for the first start of a board, only a part of the system: 1 the loader, the kernel and the serial port;"
        " 2 also the timer; 3 one guest without devices; 4 all guests, without devices; 5 the whole (default)",
    )


def plan(name: str, progress: Progress, *, emulated: bool = False, stage: int | None = None) -> Planned:
    """Read, plan and check a description, for the board or for QEMU's model of it. stage: None for the whole."""
    from router import files
    from router.pipeline.inputs import plan_loaded

    try:
        planned = plan_loaded(load(name), files.cache_folder(), progress, emulated=emulated)
        if stage is None:
            return planned
        from router.pipeline.stages import staged

        return staged(planned, stage)
    finally:
        progress.done()


def build_folder(args: argparse.Namespace, system: str) -> Path:
    """Where the build goes: `-o`, or build/<system> below the current folder."""
    return Path(args.output) if args.output else Path("build") / system


def say(label: str, text: str) -> None:
    """One line of a subcommand's report, with its label in a column of its own."""
    display.styled((f"{label:<12}", BOLD), f" {text}")
