# SPDX-License-Identifier: BSD-2-Clause
"""docs/reference/pytest.md lists all that tests can use, and the needs as they are."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from router.testing import NEEDS, Guest, Router, Setup
from router.testing.needs import missing

PAGE = (Path(__file__).parents[2] / "docs/reference/pytest.md").read_text()
MODES = ("split", "microkit", "board")
NOT_FOR_TESTS = {"machine", "tidy"}


@pytest.mark.parametrize("kind", [Router, Guest])
def test_every_public_member_is_listed(kind: type) -> None:
    names = {name for name in vars(kind) if not name.startswith("_")} - NOT_FOR_TESTS
    assert names - set(re.findall(r"`(\w+)", PAGE)) == set()


def test_every_option_and_field_is_listed(request: pytest.FixtureRequest) -> None:
    plugin = (Path(__file__).parents[2] / "router/pytest_plugin.py").read_text()
    options = set(re.findall(r'"(--[a-z-]+)"', plugin))
    assert len(options) > 5 and options - set(re.findall(r"`(--[a-z-]+)", PAGE)) == set()
    assert {each.name for each in dataclasses.fields(Setup)} - set(re.findall(r"`(\w+)`", PAGE)) == set()


@pytest.mark.parametrize("need", [need for need in NEEDS if need not in MODES])
def test_the_table_of_needs_says_what_each_mode_has(need: str) -> None:
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{need}`"))
    listed = [cell.strip() for cell in row.split("|")[2:5]]
    has = ["no" if missing(need, mode) else "yes" for mode in MODES]
    assert listed == [*has[:2], "with `--router-interactive`" if need == "plug" else has[2]]
    assert missing("plug", "board", interactive=True) is None
