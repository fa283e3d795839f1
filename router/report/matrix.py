# SPDX-License-Identifier: BSD-2-Clause
"""The isolation matrix as a picture."""

from __future__ import annotations

from router.report.drawing import Box, Caption, Drawing
from router.report.isolation import Isolation

ROW, CELL = 24.0, 46.0
NAMES, PLACES = 190.0, 150.0
HEAD = 150.0


def isolation_svg(isolation: Isolation) -> str:
    """Rows are regions, columns those with an address space: what each may do stands where they meet."""
    cell = CELL if len(isolation.holders) <= 16 else 30.0
    left = 40 + NAMES + PLACES
    width = max(left + cell * len(isolation.holders) + 90, 720)
    drawing = Drawing("isolation", "Who can read, write and execute what", width)
    drawing.text(40, 44, "Isolation", "head")
    drawing.text(40, 66, "what each may do with each region", "small soft")
    drawing.text(40, 84, f"derived {isolation.source}", "small soft")
    for column, holder in enumerate(isolation.holders):
        x = left + cell * column + cell / 2 + 4
        style = "small strong guesttext" if holder.guest else "small pdtext"
        drawing.parts.append(Caption(x, HEAD - 8, holder.label, style, turn=-48))
    drawing.height = draw_rows(drawing, isolation, left, cell) + 20
    return drawing.render()


def draw_rows(drawing: Drawing, isolation: Isolation, left: float, cell: float) -> float:
    """The rows; returns where they end."""
    y = HEAD
    for number, region in enumerate(isolation.regions):
        if number % 2 == 0:
            drawing.box(Box(32, y, left + cell * len(isolation.holders) - 24, ROW, "stripe", 3))
        drawing.text(40, y + 16, region.name, "mono", room=NAMES)
        drawing.text(40 + NAMES, y + 16, region.place, "small soft", room=PLACES)
        for column, holder in enumerate(isolation.holders):
            rights = region.rights_of(holder)
            if rights:
                x = left + cell * column
                title = f"{holder.label} may {rights} {region.name}"
                drawing.box(Box(x + 3, y + 3, cell - 6, ROW - 6, rights, 4, title))
                drawing.text(x + cell / 2, y + 16, rights, "mono", "middle")
        y += ROW
    return y
