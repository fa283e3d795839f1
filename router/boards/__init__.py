# SPDX-License-Identifier: BSD-2-Clause
"""What a board is. Every module here that defines BOARD adds one board; there is nothing else to register."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import fields
from functools import cache

from router.boards.model import Board
from router.errors import DescriptionError

SHARED = ("model", "imx8m")
"""Modules here that several boards use and that are no board."""


@cache
def names() -> tuple[str, ...]:
    """The names of all boards, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name not in SHARED))


def board(name: str) -> Board:
    """The board of that name; DescriptionError when there is none, or only a draft of it."""
    if name not in names():
        raise DescriptionError(f"no board '{name}'", hint=f"boards: {', '.join(names())}")
    found: Board = importlib.import_module(f"router.boards.{name}").BOARD
    missing = [each.name for each in fields(found) if getattr(found, each.name) is ...]
    if missing:
        raise DescriptionError(
            f"the board '{name}' is a draft: {', '.join(missing)} not filled in",
            hint=f"complete router/boards/{name}.py",
        )
    return found
