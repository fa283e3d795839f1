# SPDX-License-Identifier: BSD-2-Clause
"""Start a project: write a description with comments, its first tests, and a .gitignore, into a folder.

  router init                  into this folder
  router init my-project       into that one, which is made if need be
  router init --ci github      also the workflow that runs the tests on each push; alone, where a description is there

No file is overwritten. The description works at once: it is for the board `qemu`, which is QEMU on this computer.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from router.cli import _common

NAME = "init"
HELP = "write a first description to start from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", nargs="?", default=".", help="where (default: here)")
    parser.add_argument("--ci", choices=("github", "gitlab"), help="also write the workflow that runs the tests there")


def run(args: argparse.Namespace) -> int:
    from router.starter import DESCRIPTION, write_project

    written = write_project(Path(args.folder), args.ci)
    _common.say("written", ", ".join(map(str, written)))
    description = Path(args.folder) / DESCRIPTION
    if description not in written:
        return 0
    place = shlex.quote(str(description.parent))
    print("next:")
    if description.parent != Path():
        print(f"  cd {place}")
    print(f"  router check {description.name}")
    print(f"  router run {description.name} --usb keyboard --console client")
    print(f"  pytest --router {description.name}")
    return 0
