# SPDX-License-Identifier: BSD-2-Clause
"""Lays a table out in a number of columns of a terminal: what has most gives way first, numbers do not."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from router.overview.rows import Table

GAP = 2
MIN_WIDTH = 6
"""To which a column of text is cut at least."""
MAX_ROWS = 200
"""Rows that are laid out; what guests say decides how many a table has."""
MAX_PER_CELL = 4
"""Characters for each cell of the room that are looked at: more take no room, such as combining marks."""
MARK, NO_MARK = "! ", "  "
"""Before a line that a person should look at, so that it needs no colour."""
Measure = Callable[[str], int]
"""How many cells of a terminal a text takes: some characters take two, or none."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line for the terminal. row: the number of the table's row; None: the head, or what stands for no rows."""

    text: str
    row: int | None = None
    bad: bool = False


def widths(natural: Sequence[int], fixed: frozenset[int], keep: frozenset[int], room: int) -> list[int]:
    """How wide each column is so that all fit, with their gaps; columns that cannot be cut further stick out.

    Those of `fixed` are never cut, those of `keep` after all others.
    """
    found = list(natural)
    while sum(found) + GAP * (len(found) - 1) > room:
        free = [n for n in range(len(found)) if n not in fixed and found[n] > MIN_WIDTH]
        if not free:
            break
        widest = max(free, key=lambda n: (n not in keep, found[n]))
        found[widest] -= 1
    return found


def cut(text: str, room: int, measure: Measure) -> str:
    """The text in that many cells at most, with an ellipsis where some of it is missing."""
    short = text[: room * MAX_PER_CELL]
    if len(short) == len(text) and measure(text) <= room:
        return text
    fitting = bisect_right(range(len(short) + 1), room - 1, key=lambda length: measure(short[:length])) - 1
    return short[: max(0, fitting)] + "…"


def lay_out(table: Table, room: int, measure: Measure) -> list[Line]:
    """The table's lines in so many cells: the head, then its first MAX_ROWS rows, and how many more there are."""
    if not table.rows:
        return [Line(cut(NO_MARK + table.empty, room, measure))]
    # A cell may be a kilobyte long; more than the room is never shown.
    shown_rows = table.rows[:MAX_ROWS]
    rows = [[cut(cell, room, measure) for cell in row.cells] for row in shown_rows]
    natural = [max(map(measure, cells)) for cells in zip(table.head, *rows, strict=True)]
    wide = widths(natural, table.numbers, table.keep, room - len(MARK))

    def line(cells: Sequence[str]) -> str:
        parts = []
        for n, (cell, width) in enumerate(zip(cells, wide, strict=True)):
            shown = cut(cell, width, measure)
            pad = " " * (width - measure(shown))
            parts.append(pad + shown if n in table.numbers else shown + pad)
        return (" " * GAP).join(parts).rstrip()

    found = [Line(cut(NO_MARK + line(table.head), room, measure))]
    for number, row in enumerate(shown_rows):
        text = (MARK if row.bad else NO_MARK) + line(rows[number])
        found.append(Line(cut(text, room, measure), number, row.bad))
    if missing := len(table.rows) - len(shown_rows):
        found.append(Line(cut(f"{NO_MARK}… {missing} more", room, measure)))
    return found
