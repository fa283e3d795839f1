# SPDX-License-Identifier: BSD-2-Clause
"""Print a script that completes `router` in a shell: its subcommands, options, descriptions and folders.

bash   eval "$(router completion bash)"                         (in ~/.bashrc)
zsh    router completion zsh > "${fpath[1]}/_router"            (then start a new shell)
fish   router completion fish > ~/.config/fish/completions/router.fish
tcsh   router completion tcsh > ~/.router.tcsh                  (and source it in ~/.tcshrc)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from shlex import quote
from typing import Any

NAME = "completion"
HELP = "print a script that completes router in a shell"

SHELLS = ("bash", "zsh", "fish", "tcsh")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to complete")


def run(args: argparse.Namespace) -> int:
    from router.cli import build_parser

    print(script(build_parser(), args.shell))
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script of a command line; HostError when the installed shtab does not know the shell."""
    import shtab

    from router.description.catalogue import shipped_descriptions
    from router.errors import HostError

    if shell not in shtab.SUPPORTED_SHELLS:
        raise HostError(f"the installed shtab makes no completion for {shell}", "pip install --upgrade shtab")
    how = descriptions(shipped_descriptions())
    for action in actions(parser):
        if action.metavar == "FILE" and not action.option_strings:
            action.complete = how  # type: ignore[attr-defined]
        elif action.metavar in ("FILE", "URL|FILE"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    text: str = shtab.complete(parser, shell)
    return text


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a command line and of its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from actions(sub)
        else:
            yield action


def descriptions(shipped: Iterable[str]) -> dict[str, Any]:
    """How each shell completes a description: YAML files, folders on the way to them, and the shipped names."""
    names = list(shipped)
    words = " ".join(map(quote, names))
    return {
        "bash": "_router_descriptions",
        "zsh": "_router_descriptions",
        "fish": "(_router_descriptions)",
        "tcsh": "f:*.yaml",
        "preamble": {
            "bash": (
                "_router_descriptions() {\n"
                "  compgen -f -X '!*.yaml' -- \"$1\"\n"
                '  compgen -d -S / -- "$1"\n'
                f'  compgen -W {quote(words)} -- "$1"\n'
                "}\n"
            ),
            "zsh": f"_router_descriptions() {{\n  _files -g '*.yaml'\n  compadd -- {words}\n}}\n",
            "fish": (f"function _router_descriptions\n  __fish_complete_suffix .yaml\n  printf '%s\\n' {words}\nend\n"),
        },
    }
