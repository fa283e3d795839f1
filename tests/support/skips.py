# SPDX-License-Identifier: BSD-2-Clause
"""Skips that are counted: which tier of the tests did not run on this computer, and why, said at the end of a run.

A test that lacks something of its tier calls `skip`; any other skip is counted in the tier of the test's marker.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest

from router.errors import HostError
from tests.support.newer import TOOLS, newer_tool

MARKED = {"board": "hardware", "sel4": "SDK", "deploy": "deploy", "qemu": "QEMU", "packages": "guest packages"}
"""The tier of a test that skips without naming one, by its marker; the first that fits."""
UNMARKED = "fast"


def skip(tier: str, reason: str) -> NoReturn:
    """Skip the test for this reason, counted in that tier."""
    pytest.skip(f"{tier} tier: {reason}")


def need(tool: str) -> str:
    """The tool's path, or a skip that names it."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


def need_newer(program: str) -> str:
    """The path of a tool that Debian 12 has not new enough, fetched when it is missing; or a skip."""
    try:
        return str(newer_tool(program))
    except HostError as error:
        skip("newer tools", f"no {TOOLS[program].wanted}: {error.message}")


def counted(skipped: Iterable[tuple[str, Iterable[str]]]) -> list[str]:
    """The lines of the summary for (reason, keywords of the test) of each skipped test, most frequent first."""
    found: Counter[tuple[str, str]] = Counter()
    for reason, keywords in skipped:
        named = re.fullmatch(r"([\w ]+) tier: (.*)", reason, re.DOTALL)
        marked = (tier for marker, tier in MARKED.items() if marker in keywords)
        found[(named[1], named[2]) if named else (next(marked, UNMARKED), reason)] += 1
    return [f"{tier} tier: {count} skipped: {reason}" for (tier, reason), count in found.most_common()]


def write_summary(reporter: pytest.TerminalReporter) -> None:
    """A section of the terminal's summary, unless nothing was skipped."""
    # longrepr is (file, line, "Skipped: reason") of a skip, and something else of an expected failure.
    skips = [each for each in reporter.stats.get("skipped", []) if isinstance(each.longrepr, tuple)]
    reasons = [(each.longrepr[2].removeprefix("Skipped: "), each.keywords) for each in skips]
    if reasons:
        reporter.section("what did not run here")
        for line in counted(reasons):
            reporter.write_line(line)
