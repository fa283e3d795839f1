# SPDX-License-Identifier: BSD-2-Clause
"""The table of tried devices, as Markdown and as JSON. Pure: rows in, text out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from bench.devices.models import ENGINES, FAILS, ISSUES, UNTRIED, WORKS, Trial

SPEEDS = {"1.5": "low", "12": "full", "480": "high", "5000": "super", "10000": "super+"}
"""Names that the USB specification gives to sysfs's speeds in Mbit/s."""

HEAD = """# USB devices that were tried

`router bench devices` writes this file. It boots a server guest and a client guest in QEMU, plugs one device after
another into the server, uses it in the client and compares the data at both ends.

{conditions}

*works*: every step gave the right data. *works with issues*: usable, except for the named issues. *does not work*: not
usable in the client. All devices are emulated: QEMU's own; gadgets of the server's kernel on its controller dummy_hcd;
*made* ones, programs that QEMU's usb-redir puts on its controller, each of which records what it sends and gets.
**No real device was tried**, and no other hardware.
"""
COLUMNS = ("device", "speed", "transfers", "driver in the client", "what was done", *(f"engine {e}" for e in ENGINES))


Notes = Sequence[tuple[str, str]]
"""Names, each with what there is to say about it."""


def render(trials: Sequence[Trial], conditions: Sequence[str], left_out: Notes = (), intermittent: Notes = ()) -> str:
    """The document. left_out: devices that were not tried, and why; intermittent: issues of other runs."""
    parts = [HEAD.format(conditions="\n".join(f"- {line}" for line in conditions)), summary(trials), ""]
    parts += table(COLUMNS, [device_row(rows) for rows in by_device(trials)])
    for rows in by_device(trials):
        names = list(dict.fromkeys(name for row in rows for name in row.cases))
        if names:
            parts += ["", f"## {rows[0].device}: each case", ""]
            ways = list(dict.fromkeys(way for row in rows for result in row.cases.values() for way in result))
            cells = [[name, *(case_cell(rows, name, way) for way in ways)] for name in names]
            parts += table(("case", *ways), cells)
    for title, notes in (("Seen in other runs", intermittent), ("Not tried", left_out)):
        if notes:
            parts += ["", f"## {title}", "", *(f"- {name}: {text}" for name, text in notes)]
    return "\n".join(parts) + "\n"


def as_json(trials: Sequence[Trial], conditions: Sequence[str]) -> str:
    """Conditions and rows for programs."""
    return json.dumps({"conditions": list(conditions), "devices": [asdict(trial) for trial in trials]}, indent=1) + "\n"


def summary(trials: Sequence[Trial]) -> str:
    """How many devices have which verdict, by engine."""
    lines = []
    for engine in ENGINES:
        mine = [trial.verdict for trial in trials if trial.engine == engine]
        if mine:
            counts = [
                f"{verdict} {mine.count(verdict)}" for verdict in (WORKS, ISSUES, FAILS, UNTRIED) if verdict in mine
            ]
            lines.append(f"Engine `{engine}`, {len(mine)} devices: {', '.join(counts)}.")
    return "\n".join(lines)


def by_device(trials: Sequence[Trial]) -> list[list[Trial]]:
    """The rows of each device together, in the order in which devices were first tried."""
    names = list(dict.fromkeys(trial.device for trial in trials))
    return [[trial for trial in trials if trial.device == name] for name in names]


def device_row(rows: Sequence[Trial]) -> list[str]:
    """One line: what does not depend on the engine, and the verdict for each engine."""
    first = max(rows, key=lambda row: (bool(row.done), bool(row.speed)))
    speed = SPEEDS.get(first.speed, first.speed)
    verdicts = [next((verdict(row) for row in rows if row.engine == engine), "") for engine in ENGINES]
    name = f"**{first.device}** {first.what}"
    return [name, speed, ", ".join(first.transfers), ", ".join(first.drivers), first.done, *verdicts]


def verdict(row: Trial) -> str:
    """The verdict and its reason."""
    return f"{row.verdict}: {row.reason}" if row.reason else row.verdict


def case_cell(rows: Sequence[Trial], name: str, way: str) -> str:
    """The result of one case in one way; both results when two runs of it differ."""
    results = [row.cases[name][way] for row in rows if way in row.cases.get(name, {})]
    return " / ".join(dict.fromkeys(results))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; an empty cell is a dash."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return lines + ["| " + " | ".join(escape(cell) or "–" for cell in row) + " |" for row in rows]


def escape(text: str) -> str:
    """Text for a cell."""
    return text.replace("|", "\\|").replace("\n", " ")
