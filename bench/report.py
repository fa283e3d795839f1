# SPDX-License-Identifier: BSD-2-Clause
"""What a measurement gives: figures with their conditions, as text for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

WIDTH = 55
"""Columns of a figure's name."""


@dataclass(frozen=True)
class Row:
    """One figure.

    of: which system it belongs to, where several are measured for comparison. samples: the values that `value` is the
    median of. goal: what is wanted, in words; met: whether it is reached, None where there is no goal.
    """

    name: str
    value: float
    unit: str
    of: str = ""
    samples: tuple[float, ...] = ()
    goal: str = ""
    met: bool | None = None

    @property
    def text(self) -> str:
        """The value with its unit, spread and goal."""
        text = f"{number(self.value)} {self.unit}"
        if len(self.samples) > 1:
            low, high = number(min(self.samples)), number(max(self.samples))
            text += f" (median of {len(self.samples)}; {low} to {high})"
        if self.met is not None:
            text = f"{text:<14}  goal {self.goal}: {'met' if self.met else 'MISSED'}"
        return f"{self.of} {text}" if self.of else text


@dataclass(frozen=True)
class Measurement:
    """The figures of one command; `name` is the command's word."""

    name: str
    conditions: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def missed(self) -> bool:
        """Whether a goal is missed."""
        return any(row.met is False for row in self.rows)


def median(name: str, unit: str, samples: Sequence[float]) -> Row:
    """The row of several values of one thing."""
    return Row(name, statistics.median(samples), unit, samples=tuple(samples))


def number(value: float) -> str:
    """A figure with about three digits."""
    size = abs(value)
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def render(rows: Iterable[Row]) -> str:
    """A line for each name; rows of one name that follow each other share it."""
    lines = []
    for name, group in groupby(rows, key=lambda row: row.name):
        lines.append(f"{name:<{WIDTH}} " + "   ".join(f"{row.text:<24}" for row in group).rstrip())
    return "\n".join(lines)


def as_json(measurement: Measurement) -> str:
    """One JSON object: `measurement`, `conditions` and `rows`."""
    data = {
        "measurement": measurement.name,
        "conditions": list(measurement.conditions),
        "rows": [asdict(row) for row in measurement.rows],
    }
    return json.dumps(data, indent=1)


GUESTS = "guests: KASLR on, page-table isolation off (kpti=off)"
"""Of guests that start with seeds and with the arguments that the plan gives them."""
SAME_GUESTS = "guests: KASLR off, page-table isolation off (kpti=off)"
"""Of guests that start without seeds."""


def computer() -> str:
    """This computer, in one line."""
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}"
    )
