# SPDX-License-Identifier: BSD-2-Clause
"""Building the systems that are measured, and reading what programs in their guests print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from router import files
from router.description.load import load
from router.errors import MachineError
from router.pipeline.build import Built, build
from router.pipeline.inputs import plan_loaded

MiB = 1 << 20
NAME = "bench.yaml"
"""Of a description in its folder."""

Progress = Callable[[str], None]
"""Gets one line for each step that starts."""
Execute = Callable[[str, str, float], tuple[int, bytes]]
"""Runs a command in a guest, with a timeout in seconds: (exit code, output)."""


def build_system(folder: Path, description: str, progress: Progress, *, loader_image: bool = True) -> Built:
    """Build the system that a description's text describes, in a folder. loader_image: also make `loader.img`."""
    path = folder / NAME
    path.write_text(description)
    cache = files.cache_folder()
    planned = plan_loaded(load(path), cache, progress)
    return build(planned, folder / "build", cache, progress, loader_image=loader_image)


def scratch_disk(path: Path, size: int) -> Path:
    """A disk image of that many bytes (a multiple of 1 MiB), not all zero, made once."""
    if not path.exists() or path.stat().st_size != size:
        path.parent.mkdir(parents=True, exist_ok=True)
        block = bytes(range(256)) * 4096
        path.write_bytes(block * (size // len(block)))
    return path


def run_in(execute: Execute, guest: str, command: str, timeout_s: float) -> str:
    """The output of a command that must succeed. MachineError has the end of its output."""
    code, output = execute(guest, command, timeout_s)
    text = output.decode(errors="replace")
    if code:
        raise MachineError(f"the measurement failed in '{guest}' (exit code {code})", hint=text[-500:])
    return text


def figures(output: str, guest: str) -> dict[str, list[float]]:
    """The values by name of `name value` lines, which a guest's program printed. MachineError for any other line."""
    found: dict[str, list[float]] = {}
    for line in output.splitlines():
        name, _, value = line.rpartition(" ")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not name or number < 0:
            raise MachineError(f"the measurement in '{guest}' printed {line!r}")
        found.setdefault(name, []).append(number)
    return found
