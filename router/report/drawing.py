# SPDX-License-Identifier: BSD-2-Clause
"""Pictures: boxes, texts and lines at fixed places, written as SVG through one template.

Colours are names of classes in the template's style sheet, which knows a light and a dark form of each. The pictures
refer to nothing outside themselves, so that they can stand alone (in a README) or inside the report's page.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from router.templates import template

GLYPH = 0.56
"""Width of an average glyph of a sans-serif face, in heights of the face."""


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    style: str
    radius: float = 8
    title: str = ""
    """Shown when the pointer rests on the box."""

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


@dataclass(frozen=True)
class Caption:
    x: float
    y: float
    text: str
    style: str = ""
    anchor: str = "start"
    turn: float = 0
    """Degrees clockwise about the text's own origin."""


@dataclass(frozen=True)
class Polyline:
    d: str
    """Path data of SVG 1.1, section 8.3."""
    style: str
    arrow: bool = False


@dataclass
class Drawing:
    """A picture under construction; what is added later lies on top."""

    name: str
    title: str
    width: float
    height: float = 0
    parts: list[Box | Caption | Polyline] = field(default_factory=list)

    def box(self, box: Box) -> Box:
        self.parts.append(box)
        return box

    def text(
        self, x: float, y: float, text: str, style: str = "", anchor: str = "start", room: float | None = None
    ) -> None:
        """Text with its baseline at y; `room`: pixels after which it is cut off with an ellipsis."""
        size = 18 if "head" in style else 11 if "small" in style else 13
        shown = text if room is None else fit(text, room, size * (1.13 if "mono" in style or "strong" in style else 1))
        self.parts.append(Caption(x, y, shown, style, anchor))

    def line(self, points: list[tuple[float, float]], style: str, arrow: bool = False, bend: float = 10) -> None:
        """A line through the points with rounded corners."""
        self.parts.append(Polyline(rounded(points, bend), style, arrow))

    def render(self) -> str:
        """The SVG text."""
        return template("router.report", "drawing.svg.j2").render(drawing=self, kind=lambda part: type(part).__name__)


def fit(text: str, room: float, size: float) -> str:
    """The text, cut off with an ellipsis when it would not fit in `room` pixels at that size."""
    most = max(int(room / (size * GLYPH)), 1)
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def rounded(points: list[tuple[float, float]], bend: float) -> str:
    """Path data of a line through the points, its corners rounded with at most that radius."""
    parts = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = towards(corner, before, bend), towards(corner, after, bend)
        parts.append(f"L{start[0]:g} {start[1]:g}Q{corner[0]:g} {corner[1]:g} {end[0]:g} {end[1]:g}")
    parts.append(f"L{points[-1][0]:g} {points[-1][1]:g}")
    return "".join(parts)


def towards(origin: tuple[float, float], target: tuple[float, float], distance: float) -> tuple[float, float]:
    """The point at that distance from `origin` on the way to `target`, but at most half way."""
    across, down = target[0] - origin[0], target[1] - origin[1]
    length = (across**2 + down**2) ** 0.5
    share = min(distance / length, 0.5) if length else 0
    return round(origin[0] + across * share, 2), round(origin[1] + down * share, 2)
