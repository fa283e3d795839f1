# SPDX-License-Identifier: BSD-2-Clause
"""Run a shell command in a guest of a running system, in QEMU or on a board.

Its output is printed as it comes (standard output and standard error together), and its exit code becomes ours. Ctrl-C
ends it. A single word is a shell command line; several are a command and its arguments.

With --on BOARD the system is what `router deploy` has brought up on that board of the lab file. The process
that owns the board's serial line serves it; where there is none, one is started that lasts while clients are connected.

Examples:

  router exec client 'dmesg | tail'
  router exec client sha256sum /dev/sda
  router exec --on desk client sha256sum /dev/sda
"""

from __future__ import annotations

import argparse
import json
import shlex

from router.cli import _running

NAME = "exec"
HELP = "run a command in a guest of a running system"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _running.add_arguments(parser)
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=300.0, help="for the command (300)")
    parser.add_argument("--json", action="store_true", help="exit code and output as JSON")
    parser.add_argument("guest", metavar="GUEST")
    parser.add_argument("words", metavar="COMMAND", nargs=argparse.REMAINDER, help="a shell command line, or words")


def run(args: argparse.Namespace) -> int:
    from router.errors import DescriptionError

    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    if not words:
        raise DescriptionError("which command?", hint=f"write for instance: router exec {args.guest} uname -a")
    command = words[0] if len(words) == 1 else shlex.join(words)
    from router.console.terminal import show

    with _running.connector(args) as connect, connect() as system:
        code, output = system.execute(args.guest, command, args.timeout, None if args.json else show)
    if args.json:
        print(
            json.dumps(
                {"guest": args.guest, "command": command, "code": code, "output": output.decode(errors="replace")}
            )
        )
    return code
