"""How long the user waits: check, build (cold and warm), and from `router run` to the disk in the client guest."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.route import scratch_disk
from router.errors import MachineError

MiB = 1 << 20
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


def waits(description: str, cold: bool) -> Iterator[tuple[str, str]]:
    """Rows of name and value; `cold` also builds with an empty cache, which downloads every package."""
    with tempfile.TemporaryDirectory(prefix="router-bench-") as name:
        folder = Path(name)
        if cold:
            fresh = {"XDG_CACHE_HOME": str(folder / "cache")}
            yield (
                "router build, cold, downloads included",
                f"{seconds([*ROUTER, 'build', description], folder, fresh):.1f} s",
            )
        seconds([*ROUTER, "build", description], folder)
        for verb in ("check", "build"):
            taken = [seconds([*ROUTER, verb, description], folder) for _ in range(5)]
            yield f"router {verb}, warm", f"{statistics.median(taken):.2f} s (median of 5, worst {max(taken):.2f} s)"
        disk = scratch_disk(folder / "disk.img", 8 * MiB)
        run = [
            *ROUTER,
            "run",
            description,
            "--mode",
            "split",
            "--usb",
            f"storage:{disk}",
            "--exec",
            "client: test -b /dev/sda",
        ]
        taken = [seconds(run, folder) for _ in range(3)]
        yield (
            "router run to the disk in the client and clean stop",
            (f"{statistics.median(taken):.1f} s (median of 3, worst {max(taken):.1f} s)"),
        )
