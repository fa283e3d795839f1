"""Run a shell command in a guest of a running system.

Its output is printed as it comes (standard output and standard error together), and its exit code becomes ours. Ctrl-C
ends it. One word is a shell command line; several are one command and its arguments. Examples:

  router exec client 'dmesg | tail'
  router exec client sha256sum /dev/sda
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys

NAME = "exec"
HELP = "run a command in a guest of a running system"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--system", metavar="NAME", help="which running system (default: the only one)")
    parser.add_argument("--timeout", metavar="SECONDS", type=float, default=300.0, help="for the command (300)")
    parser.add_argument("--json", action="store_true", help="exit code and output as JSON")
    parser.add_argument("guest", metavar="GUEST")
    parser.add_argument("words", metavar="COMMAND", nargs=argparse.REMAINDER, help="a shell command line, or words")


def run(args: argparse.Namespace) -> int:
    from router.control.client import Connection, choose
    from router.errors import DescriptionError

    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    if not words:
        raise DescriptionError("which command?", hint=f"write for instance: router exec {args.guest} uname -a")
    command = words[0] if len(words) == 1 else shlex.join(words)

    def show(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    with Connection(choose(args.system)) as system:
        code, output = system.execute(args.guest, command, args.timeout, None if args.json else show)
    if args.json:
        print(
            json.dumps(
                {"guest": args.guest, "command": command, "code": code, "output": output.decode(errors="replace")}
            )
        )
    return code
