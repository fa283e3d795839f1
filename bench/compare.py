# SPDX-License-Identifier: BSD-2-Clause
"""Two runs of a measurement side by side (`router bench WHAT --json` writes them), with their noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import WIDTH, number
from router.errors import DescriptionError


@dataclass(frozen=True)
class Figure:
    """One figure of a run; `low` and `high` are the least and the greatest sample, the value itself without any."""

    value: float
    low: float
    high: float
    unit: str


Key = tuple[str, str]
"""A figure's name, and the system that it is of."""


@dataclass(frozen=True)
class Recorded:
    """A run as its file has it."""

    measurement: str
    conditions: tuple[str, ...]
    figures: dict[Key, Figure]


def read(path: Path) -> Recorded:
    """The run in a file. DescriptionError when it cannot be read or is not one."""
    try:
        data = json.loads(path.read_bytes())
        figures = {(str(row["name"]), str(row["of"])): _figure(row) for row in data["rows"]}
        return Recorded(str(data["measurement"]), tuple(map(str, data["conditions"])), figures)
    except OSError as error:
        raise DescriptionError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (ValueError, TypeError, KeyError, RecursionError):
        hint = "write one with: router bench counts --json >FILE"
        raise DescriptionError("not the JSON of a measurement", hint=hint, where=str(path)) from None


def _figure(row: dict[str, Any]) -> Figure:
    value, samples = float(row["value"]), [float(each) for each in row["samples"]]
    return Figure(value, min(samples, default=value), max(samples, default=value), str(row["unit"]))


def verdict(before: Figure, after: Figure) -> str:
    """How much changed. Samples that overlap show no difference; a figure without samples has no known noise."""
    if before.value == after.value:
        return "the same"
    varies = before.high > before.low or after.high > after.low
    if varies and before.low <= after.high and after.low <= before.high:
        return "within the noise"
    if before.value == 0:
        return "new"
    return f"{100 * (after.value / before.value - 1):+.1f} %"


def spread(figure: Figure) -> str:
    """A value with its unit and the range of its samples."""
    text = f"{number(figure.value)} {figure.unit}".rstrip()
    return f"{text} ({number(figure.low)} to {number(figure.high)})" if figure.high > figure.low else text


def compare(before: Recorded, after: Recorded) -> list[str]:
    """A line for each figure of either run, in the first one's order. DescriptionError for different measurements."""
    if before.measurement != after.measurement:
        raise DescriptionError(
            f"'{before.measurement}' and '{after.measurement}' are different measurements",
            hint="compare two runs of the same one",
            where="bench compare",
        )
    keys = [*before.figures, *(key for key in after.figures if key not in before.figures)]
    return [_line(key, before.figures.get(key), after.figures.get(key)) for key in keys]


def _line(key: Key, before: Figure | None, after: Figure | None) -> str:
    name = f"{key[0]} ({key[1]})" if key[1] else key[0]
    shown: Sequence[str] = [spread(each) if each else "-" for each in (before, after)]
    said = verdict(before, after) if before and after else "only in one"
    return f"{name:<{WIDTH}} {shown[0]:<26} {shown[1]:<26} {said}".rstrip()
