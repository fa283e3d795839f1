# SPDX-License-Identifier: BSD-2-Clause
"""Reading captures with tshark, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def tshark(path: Path, *fields: str, growing: bool = False) -> list[list[str]]:
    """These fields of each packet, in order. growing: the file may end in the middle of a packet."""
    words = ["tshark", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    for field in fields:
        words += ["-e", field]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    whole = done.returncode == 0 or (growing and "cut short in the middle of a packet" in done.stderr)
    assert whole, done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]
