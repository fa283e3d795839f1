# SPDX-License-Identifier: BSD-2-Clause
"""What a failed test leaves for whoever looks into it: consoles, time line and capture, in the report and as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from router import files
from router.display import safe, safe_lines
from router.errors import reason
from router.testing.pool import Live

LINES = 30
"""Of each console, and of the time line, in the report."""
MAX_TAIL_BYTES = 64 << 10
TIMELINE = "timeline.json"


def tail(path: Path) -> str:
    """The last lines of a log, safe to print."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - MAX_TAIL_BYTES))
        lines = file.read().decode(errors="replace").replace("\r", "").splitlines()[-LINES:]
    return safe_lines("\n".join(lines))


def sections(live: Live) -> list[tuple[str, str]]:
    """(title, text) of what the report shows: the end of each console, and what has happened."""
    found = []
    logs = {path.stem: path for path in live.machine.attachments if path.suffix == ".log"}
    for path in logs.values():
        # The first lines of a boot matter until the guest's console works.
        if path.stem.endswith(".early") and path.stem.replace(".early", ".console") in logs:
            continue
        try:
            text = tail(path)
        except OSError as error:
            text = f"not read: {reason(error)}"
        if text:
            found.append((f"{path.stem}, the last lines", text))
    events = live.events.so_far()[-LINES:]
    if events:
        found.append(("time line", "\n".join(map(str, events))))
    return found


def save(live: Live, folder: Path) -> tuple[list[Path], list[str]]:
    """Copy what the machine has, and the time line as JSON, into a folder: the files, and what could not be saved."""
    rows: Sequence[dict[str, object]] = [asdict(event) for event in live.events.so_far()]
    timeline = json.dumps(rows, indent=1) + "\n"
    tasks: dict[str, Callable[[Path], None]] = {
        path.name: partial(files.copy, path, mode=files.PRIVATE) for path in live.machine.attachments
    }
    tasks[TIMELINE] = lambda target: files.write(target, timeline, mode=files.PRIVATE)
    saved, troubles = [], []
    for name, task in tasks.items():
        try:
            task(folder / name)
            saved.append(folder / name)
        except OSError as error:
            troubles.append(f"not saved: {safe(str(folder / name))}: {reason(error)}")
    return saved, troubles
