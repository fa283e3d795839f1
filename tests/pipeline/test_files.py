# SPDX-License-Identifier: BSD-2-Clause
"""Outputs are written aside and renamed, and what is equal already is not touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router import files


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.txt"
    files.write(target, "one")
    before = target.stat().st_ino
    files.write(target, "two")
    assert target.read_text() == "two"
    assert target.stat().st_ino != before
    assert [p.name for p in target.parent.iterdir()] == ["b.txt"]


def test_an_equal_file_is_left_untouched(tmp_path: Path) -> None:
    target = tmp_path / "b.txt"
    files.write(target, b"one")
    os.utime(target, (1, 1))
    files.write(target, b"one")
    assert target.stat().st_mtime == 1


def test_a_failure_leaves_the_old_file_and_no_half_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "b.txt"
    files.write(target, "old")

    def full(self: Path, other: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(target, "new")
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]


def test_a_copy_is_made_once(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"data")
    files.copy(source, target)
    before = target.stat().st_ino
    files.copy(source, target)
    assert target.read_bytes() == b"data"
    assert target.stat().st_ino == before
    source.write_bytes(b"DATA")
    os.utime(source, ns=(5, 5))
    files.copy(source, target)
    assert target.read_bytes() == b"DATA"


def test_the_cache_follows_the_xdg_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert files.cache_folder() == Path("/elsewhere/router")
