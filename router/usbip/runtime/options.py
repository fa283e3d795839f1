# SPDX-License-Identifier: BSD-2-Clause
"""Command-line options by hand: argparse costs more start-up time than the rest of the daemon."""

from __future__ import annotations

from router.errors import RouterError


class UsageError(RouterError):
    """The command line is wrong."""

    exit_code = 2


class Options:
    """What was given: `values` of the options that take one (the last counts, `all` keeps each), `flags`, `words`."""

    def __init__(self, argv: list[str], takes: dict[str, str], flags: dict[str, str]) -> None:
        """takes, flags: each spelling ("-r", "--remote") → the option's name. UsageError for anything else."""
        self.all: dict[str, list[str]] = {}
        self.flags: set[str] = set()
        self.words: list[str] = []
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            name, equals, value = word.partition("=")
            if word == "--":
                self.words += rest
                return
            if not word.startswith("-") or word == "-":
                self.words.append(word)
            elif word in flags:
                self.flags.add(flags[word])
            elif equals and name in takes:
                self.all.setdefault(takes[name], []).append(value)
            elif word in takes:
                if not rest:
                    raise UsageError(f"{word} needs a value", "see --help")
                self.all.setdefault(takes[word], []).append(rest.pop(0))
            elif len(word) > 2 and word[1] != "-" and word[:2] in takes:
                self.all.setdefault(takes[word[:2]], []).append(word[2:])
            elif len(word) > 2 and word[1] != "-" and word[:2] in flags:
                self.flags.add(flags[word[:2]])
                rest.insert(0, "-" + word[2:])
            else:
                raise UsageError(f"unknown option {word}", "see --help")

    def get(self, name: str, default: str = "") -> str:
        return self.all.get(name, [default])[-1]

    def number(self, name: str, default: int) -> int:
        text = self.get(name, str(default))
        if not text.isdecimal():
            raise UsageError(f"--{name} {text!r} is not a number", "see --help")
        return int(text)
