# SPDX-License-Identifier: BSD-2-Clause
"""Small plots side by side, as one SVG drawing: how each figure grows with a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench.report import number

COLUMNS = 3
WIDTH, HEIGHT = 300, 190
"""Of a panel, in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 54, 16, 34, 34
"""The margins of what is plotted."""
STYLE = """
.plots{--paper:#fbfaf7;--ink:#1f2933;--soft:#64707d;--rule:#cfd4da;--line:#2f6fb2;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-size:12px}
@media (prefers-color-scheme:dark){.plots{--paper:#12171d;--ink:#e6eaee;--soft:#98a4b0;--rule:#3a444e;--line:#6fb0f0}}
.plots text{fill:var(--ink)}.plots .soft{fill:var(--soft);font-size:11px}.plots .head{font-weight:650}
.plots .paper{fill:var(--paper)}.plots .rule{stroke:var(--rule)}
.plots .line{stroke:var(--line);stroke-width:2;fill:none}
.plots .linear{stroke:var(--soft);stroke-dasharray:3 4;fill:none}
.plots circle{fill:var(--line)}
"""


@dataclass(frozen=True)
class Panel:
    """One figure: its values by the number that it grows with. note: what stands under its name."""

    name: str
    unit: str
    along: str
    values: Mapping[int, float]
    note: str = ""


def svg(panels: Sequence[Panel], title: str) -> str:
    """The drawing. A dashed line shows linear growth from each figure's first value."""
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * WIDTH, rows * HEIGHT
    drawn = [
        f'<g transform="translate({at % COLUMNS * WIDTH} {at // COLUMNS * HEIGHT})">{_panel(panel)}</g>'
        for at, panel in enumerate(panels)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
            f' class="plots" role="img" aria-label="{escape(title)}">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="paper" width="{width}" height="{height}"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def _panel(panel: Panel) -> str:
    sizes = sorted(panel.values)
    most = max(panel.values.values()) or 1.0
    first, last = sizes[0], sizes[-1]

    def place(size: float, value: float) -> str:
        right = LEFT + (WIDTH - LEFT - RIGHT) * (size - first) / max(1, last - first)
        return f"{right:.1f} {HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most:.1f}"

    parts = [
        f'<text class="head" x="{LEFT}" y="15">{escape(panel.name)}</text>',
        f'<text class="soft" x="{LEFT}" y="29">{escape(panel.note)}</text>',
    ]
    for value in (0.0, most / 2, most):
        left, height = place(first, value).split()
        parts.append(f'<path class="rule" d="M{left} {height}H{WIDTH - RIGHT}"/>')
        label = number(value) if value else "0"
        unit = f" {panel.unit}" if value == most else ""
        parts.append(
            f'<text class="soft" x="{LEFT - 5}" y="{float(height) + 4:.1f}" text-anchor="end">{label}{unit}</text>'
        )
    for size in sizes:
        left, height = place(size, 0).split()
        parts.append(f'<text class="soft" x="{left}" y="{float(height) + 14:.1f}" text-anchor="middle">{size}</text>')
    parts.append(
        f'<text class="soft" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(panel.along)}</text>'
    )
    # As far as it stays in the panel.
    start = panel.values[first]
    end = min(float(last), most / start * first) if start else float(first)
    parts.append(f'<path class="linear" d="M{place(first, start)}L{place(end, start * end / first)}"/>')
    points = [place(size, panel.values[size]) for size in sizes]
    parts.append(f'<path class="line" d="M{"L".join(points)}"/>')
    parts += ['<circle cx="{}" cy="{}" r="3"/>'.format(*point.split()) for point in points]
    return "".join(parts)
