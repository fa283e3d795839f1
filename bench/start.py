# SPDX-License-Identifier: BSD-2-Clause
"""How long the user waits: check, build (cold and warm), and from `router run` to the disk in the client guest."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.report import Row, median
from bench.systems import MiB, Progress, scratch_disk
from router.errors import MachineError

ROUTER = (sys.executable, "-m", "router")


def seconds(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> float:
    """Wall-clock seconds of a command that must succeed, in `folder`."""
    start = time.monotonic()
    run = subprocess.run(
        command, cwd=folder, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise MachineError(f"{' '.join(command)} failed with code {run.returncode}", hint=run.stderr[-800:])
    return time.monotonic() - start


def waits(description: str, cold: bool, progress: Progress) -> Iterator[Row]:
    """The figures. cold: also build with an empty cache, which downloads every package."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        if cold:
            progress("router build with an empty cache")
            fresh = {"XDG_CACHE_HOME": str(folder / "cache")}
            taken = seconds([*ROUTER, "build", description], folder, fresh)
            yield Row("router build, cold, downloads included", taken, "s")
        progress("router build, to fill the cache")
        seconds([*ROUTER, "build", description], folder)
        for verb in ("check", "build"):
            progress(f"router {verb}, five times")
            yield median(f"router {verb}, warm", "s", [seconds([*ROUTER, verb, description], folder) for _ in range(5)])
        disk = scratch_disk(folder / "disk.img", 8 * MiB)
        plug = ("--usb", f"storage:{disk}", "--exec", "client: test -b /dev/sda")
        samples = []
        for number in range(3):
            progress(f"router run, {number + 1} of 3")
            samples.append(seconds([*ROUTER, "run", description, "--mode", "split", *plug], folder))
        yield median("router run to the disk in the client and clean stop", "s", samples)
