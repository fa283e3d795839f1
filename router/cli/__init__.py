# SPDX-License-Identifier: BSD-2-Clause
"""The `router` command. Each subcommand is one module here that parses, calls one function and prints.

A command module offers NAME, HELP (one line), `add_arguments(parser)` and `run(args) -> int`. Command modules import
what is heavy (pydantic, fabric, …) inside `run`, so that `router --help` and completion stay fast.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Protocol

from router import __version__, display
from router.errors import RouterError, host_error

COMMANDS = (
    "init",
    "check",
    "build",
    "run",
    "demo",
    "usb",
    "top",
    "exec",
    "bench",
    "board",
    "deploy",
    "undeploy",
    "boards",
    "console",
    "power",
    "trust",
    "image",
    "disk",
    "sdk",
    "doctor",
    "lock",
    "schema",
    "completion",
)


class Command(Protocol):
    """What a module of this package offers."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def load(name: str) -> Command:
    """The command module of that name."""
    module: Command = importlib.import_module(f"router.cli.{name}")
    return module


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, also what shell completion is made from."""
    parser = argparse.ArgumentParser(
        prog="router",
        description="One YAML file in, a bootable seL4/Microkit system out, in which USB devices go from the guest "
        "that owns the controllers to the guest that the file names.",
        epilog="Try `router demo`, then `router check --help`. Exit codes: 2 the description or the command line is "
        "wrong, 3 this computer lacks something, 4 a guest or a board did not do its part, 1 a bug of router's.",
    )
    parser.add_argument("--version", action="version", version=f"router {__version__}")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="more log lines on stderr (repeatable)")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = load(name)
        sub = subparsers.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, or the failing error's (see router.errors)."""
    with display.Shielded():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    args = build_parser().parse_args(argv)
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    logging.basicConfig(
        level=levels[min(args.verbose, 2)], stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except RouterError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`router … | head`).
        _drop_output()
        return 141
    except OSError as error:
        if error.errno not in ENVIRONMENT:
            traceback.print_exc()
            return 1
        if error.errno == errno.ENOSPC and error.filename is None:
            _drop_output()
        logging.debug("where it failed", exc_info=True)
        shown = host_error(error, "use this file or folder" if error.filename else "write", HINTS.get(error.errno))
        print(shown, file=sys.stderr)
        return shown.exit_code
    except Exception:
        traceback.print_exc()
        return 1


ENVIRONMENT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ENODEV),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTEMPTY),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ETXTBSY, errno.ENXIO),
}
"""System calls that fail like this found a folder, a file or a disk that they cannot use: no bug of ours."""


HINTS = {
    errno.ENOSPC: "the disk is full: df shows which",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "name a folder that can be written to",
    errno.EACCES: "name a folder that you may write to, or ask for the permission",
    errno.ENOENT: "check the name",
    errno.EEXIST: "name another place, or move the file away",
    errno.ENOTDIR: "name another place: a file is where a folder should be",
    errno.EISDIR: "name a file: this is a folder",
}


def _drop_output() -> None:
    """Standard output takes nothing more: keep the interpreter from complaining at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:  # a stream without a descriptor
        return
