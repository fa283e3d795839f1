# SPDX-License-Identifier: BSD-2-Clause
"""What a failed test leaves for whoever looks into it: consoles, time line and capture, in the report and as files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from router import files
from router.display import safe_lines
from router.testing.pool import Live

LINES = 30
"""Of each console, and of the time line, in the report."""
MAX_TAIL_BYTES = 64 << 10
MAX_NAME = 100
"""Characters of a folder's name."""
TIMELINE = "timeline.json"


def folder_name(test: str) -> str:
    """A folder name for a test's id."""
    return re.sub(r"[^\w.-]+", "-", test).strip("-.")[-MAX_NAME:]


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
        if text := tail(path):
            found.append((f"{path.stem}, the last lines", text))
    events = live.events.so_far()[-LINES:]
    if events:
        found.append(("time line", "\n".join(map(str, events))))
    return found


def save(live: Live, folder: Path) -> list[Path]:
    """Copy what the machine has into a folder; the copies, and the time line as JSON."""
    files.output_folder(folder)
    copies = []
    for path in live.machine.attachments:
        files.copy(path, folder / path.name, mode=files.PRIVATE)
        copies.append(folder / path.name)
    rows: Sequence[dict[str, object]] = [asdict(event) for event in live.events.so_far()]
    files.write(folder / TIMELINE, json.dumps(rows, indent=1) + "\n", mode=files.PRIVATE)
    return [*copies, folder / TIMELINE]
