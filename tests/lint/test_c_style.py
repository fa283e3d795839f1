# SPDX-License-Identifier: BSD-2-Clause
"""All C in the repository is formatted as .clang-format says, clean under cppcheck, and has no over-long file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 500


def tracked_c() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "*.c", "*.h"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def need(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


def test_c_files_are_formatted() -> None:
    files = tracked_c()
    assert files
    run = subprocess.run(
        [need("clang-format"), "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"run clang-format -i on these:\n{run.stderr[-4000:]}"


def test_cppcheck_finds_nothing_in_c_files() -> None:
    """A finding that is wrong is suppressed beside the line, with the reason in the same comment."""
    sources = [name for name in tracked_c() if name.endswith(".c")]
    assert sources
    # Without Microkit's names, whichever header they come from: `fault` is one, and a good name for other things.
    headers = [Path(name) for name in tracked_c() if name.endswith(".h") and Path(name).name != "microkit.h"]
    includes = sorted({f"-I{header.parent}" for header in headers})
    command = [need("cppcheck"), "--quiet", "--std=c11", "--enable=warning,style,performance,portability"]
    command += ["--inline-suppr", "--error-exitcode=1", "-j2", *includes, *sources]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]


def test_no_c_file_is_over_long() -> None:
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in tracked_c()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_every_source_names_its_licence() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.c", "*.h", "*.S", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    texts = {name: (ROOT / name).read_text() for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    unnamed = [name for name, text in texts.items() if text.strip() and "SPDX-License-Identifier" not in text[:200]]
    assert unnamed == []
