# SPDX-License-Identifier: BSD-2-Clause
"""Whether a board's clock goes as fast as this computer's: the board says how long it has run, and we look at ours.

A line may come late, on a slow wire or a busy computer; that adds a moment once. A wrong frequency adds up. So any two
lines that agree will do, once they are far enough apart.
"""

from __future__ import annotations

MIN_SPAN_S = 3.0
"""By the board: it says tenths of a second."""
TOLERANCE = 0.05
"""Of the board's time: crystals are better than 0.01 %, and wrong frequencies are off by a factor."""


class BoardClock:
    """Compares what the board says with the times at which that was heard, both in seconds."""

    def __init__(self) -> None:
        self._heard: list[tuple[float, float]] = []

    def hear(self, board: float, here: float) -> bool:
        """The board says that it has run for `board` seconds; True when that fits the time that went by here."""
        fits = any(
            board - earlier >= MIN_SPAN_S and abs((here - then) / (board - earlier) - 1) <= TOLERANCE
            for earlier, then in self._heard
        )
        self._heard.append((board, here))
        return fits

    def difference(self) -> str:
        """Both times since the first line, as a sentence; empty while there is nothing to compare."""
        if len(self._heard) < 2:
            return ""
        (first, then), (last, now) = self._heard[0], self._heard[-1]
        return f"{last - first:.1f} s went by on the board's clock, and {now - then:.1f} s here"
