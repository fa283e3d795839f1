# SPDX-License-Identifier: BSD-2-Clause
"""The run in a picture: what each guest sent over time, when its events were, and when each command ran."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from router.display import safe
from router.overview.moment import Event
from router.overview.record import Point
from router.overview.rows import ALARMING, per_second
from router.report.drawing import Box, Drawing

WIDTH = 1080.0
LEFT, RIGHT = 190.0, 30.0
"""Beside the plots: their names, and a margin."""
ROW, PLOT = 74.0, 44.0
TOP = 70.0
STEP_ROW = 24.0
MAX_STEPS = 12
"""Commands that get a bar; the table has all."""
MAX_MARKS = 400
"""Events of a guest that are marked."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the run did: the boot, or a command. start, seconds: of the run. wrong: what went wrong, if so."""

    name: str
    start: float
    seconds: float
    wrong: str = ""


def run_svg(
    guests: Sequence[str], points: Sequence[Point], events: Sequence[Event], steps: Sequence[Step], seconds: float
) -> str:
    """The picture as SVG. seconds: how long the run was."""
    shown = list(steps)[:MAX_STEPS]
    bottom = TOP + STEP_ROW * len(shown) + ROW * len(guests)
    drawing = Drawing("run", "the run over time", WIDTH, bottom + 40)
    end = max(seconds, 1.0)
    room = WIDTH - LEFT - RIGHT

    def x(at: float) -> float:
        return round(LEFT + room * min(max(at, 0.0), end) / end, 1)

    drawing.text(24, 38, "Sent by each guest, over the run", "head")
    y = TOP
    for step in shown:
        drawing.text(24, y + 14, safe(step.name), "small mono", room=LEFT - 36)
        width = max(2.0, x(step.start + step.seconds) - x(step.start))
        title = f"{safe(step.name)}: {step.seconds:.2f} s" + (f": {safe(step.wrong)}" if step.wrong else "")
        drawing.box(Box(x(step.start), y + 3, width, 14, "usbchip" if step.wrong else "guest", 3, title))
        y += STEP_ROW
    most = max((rate for point in points for rate in point.sent.values()), default=0.0)
    for name in guests:
        _plot(drawing, name, [(point.seconds, point.sent.get(name, 0.0)) for point in points], most, y, x)
        for event in [event for event in events if event.guest == name][:MAX_MARKS]:
            style = "plug" if event.name in ALARMING else "hw"
            title = f"{event.seconds:.2f} s  {safe(event.text)}"
            drawing.box(Box(x(event.seconds) - 1, y + PLOT + 6, 2, 9, style, 0, title))
        y += ROW
    for at in ticks(end):
        drawing.line([(x(at), TOP - 8), (x(at), bottom)], "rule")
        drawing.text(x(at), bottom + 18, f"{at:g} s", "small soft", "middle")
    return drawing.render()


def _plot(drawing: Drawing, name: str, values: list[tuple[float, float]], most: float, y: float, x: object) -> None:
    assert callable(x)
    own = max((rate for _, rate in values), default=0.0)
    drawing.text(24, y + 20, safe(name), "strong", room=LEFT - 36)
    drawing.text(24, y + 38, f"at most {per_second(own)}", "small soft")
    floor = y + PLOT + 4
    drawing.line([(LEFT, floor), (WIDTH - RIGHT, floor)], "rule")
    if most > 0 and len(values) > 1:
        # A square root shows a keyboard next to a disk.
        line = [(x(at), round(floor - PLOT * math.sqrt(rate / most), 1)) for at, rate in values]
        drawing.line(line, "wire", bend=0)


def ticks(seconds: float) -> list[float]:
    """About eight round numbers from 0 to that."""
    rough = seconds / 8
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    return [round(n * step, 6) for n in range(int(seconds / step) + 1)]
