# SPDX-License-Identifier: BSD-2-Clause
"""compile_commands.json lists every C file, each with flags that its compiler takes, with an SDK and without."""

from __future__ import annotations

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from router.errors import HostError
from tests.support import compile_commands

GENERATED = {"print_config.c"}
"""Includes a header that its test generates."""


def written(output: Path) -> list[dict[str, list[str] | str]]:
    try:
        compile_commands.write(output)
    except HostError as error:
        pytest.skip(error.message)
    entries: list[dict[str, list[str] | str]] = json.loads(output.read_text())
    return entries


def test_every_c_file_is_listed_once(tmp_path: Path) -> None:
    listed = [entry["file"] for entry in written(tmp_path / "commands.json")]
    tracked = subprocess.run(
        ["git", "ls-files", "*.c"], cwd=compile_commands.ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode != 0:
        pytest.skip("not a git checkout")
    assert sorted(map(str, listed)) == sorted(str(compile_commands.ROOT / name) for name in tracked.stdout.split())


def test_every_command_compiles_its_file_without_an_sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_commands, "installed_sdks", list)
    entries = [each for each in written(tmp_path / "commands.json") if Path(str(each["file"])).name not in GENERATED]
    assert any(str(compile_commands.STUB) in entry["arguments"] for entry in entries)

    def errors(entry: dict[str, list[str] | str]) -> str:
        command = [*entry["arguments"], "-fsyntax-only"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        return run.stderr if run.returncode else ""

    for tool in ("clang", "cc"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    with ThreadPoolExecutor(2) as pool:
        failed = [text for text in pool.map(errors, entries) if text]
    assert failed == [], "\n".join(failed)[:5000]
