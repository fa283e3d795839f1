# SPDX-License-Identifier: BSD-2-Clause
"""What a person sees of a program that draws: a terminal with a screen behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyte

from tests.support.patience import PATIENCE
from tests.support.terminal_user import Terminal


class Screen(Terminal):
    """A `Terminal` whose output is drawn as a terminal draws it."""

    def __init__(self, command: Sequence[str], folder: Path, columns: int = 100, lines: int = 30) -> None:
        super().__init__(command, folder, columns, lines)
        self._screen = pyte.Screen(columns, lines)
        self._drawn = 0
        self._stream = pyte.ByteStream(self._screen)

    def resize(self, columns: int, lines: int) -> None:
        super().resize(columns, lines)
        if hasattr(self, "_screen"):
            self._screen.resize(lines, columns)

    @property
    def lines(self) -> list[str]:
        """What stands there now."""
        self._stream.feed(self.shown[self._drawn :])
        self._drawn = len(self.shown)
        return [line.rstrip() for line in self._screen.display]

    def until(self, seen: Callable[[str], bool], seconds: float = 2 * PATIENCE) -> str:
        """Wait until the screen is as it should be, and what is on it then."""
        end = time.monotonic() + seconds
        while not seen(text := "\n".join(self.lines)):
            assert time.monotonic() < end, f"not within {seconds} s:\n{text}"
            self._read(0.2)
        return text
