# SPDX-License-Identifier: BSD-2-Clause
"""Outputs are written aside and renamed, and what is equal already is not touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router import files
from router.description.diagnostics import DescriptionErrors
from router.description.load import agree_to_outside_files, load, outside_files


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
    files.copy(source, target)
    assert target.read_bytes() == b"DATA"


def test_a_foreign_file_of_the_same_size_and_age_is_no_copy(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"data")
    target.write_bytes(b"evil")
    for path in (source, target):
        os.utime(path, ns=(5, 5))
    files.copy(source, target)
    assert target.read_bytes() == b"data"


def test_the_cache_follows_the_xdg_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert files.cache_folder() == Path("/elsewhere/router")


def test_only_a_regular_file_is_read_and_within_its_limit(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a file, but a device or a pipe"):
            files.open_regular(path)
    with pytest.raises(IsADirectoryError):
        files.open_regular(tmp_path)
    (tmp_path / "file").write_bytes(b"12345")
    assert files.read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="over 4 bytes"):
        files.read_regular(tmp_path / "file", 4)


def test_a_description_that_names_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    description = tmp_path / "evil.yaml"
    description.write_text(
        "system: evil\nboard: qemu\ndevice_tree: pipe\nguests:\n"
        "  a: {image: {kernel: pipe, initramfs: /dev/zero}, memory: 64 MiB, address: 10.77.0.2}\n"
    )
    with pytest.raises(DescriptionErrors) as caught:
        load(description)
    assert str(caught.value).count("not a file, but a device or a pipe") == 2
    assert "'/dev/zero' is outside the description's folder" in str(caught.value)
    agree_to_outside_files(description, outside_files(description))
    with pytest.raises(DescriptionErrors) as caught:
        load(description)
    assert str(caught.value).count("not a file, but a device or a pipe") == 3


def test_an_error_quotes_no_value_without_end_and_no_escape_sequence(tmp_path: Path) -> None:
    description = tmp_path / "evil.yaml"
    description.write_text(f'system: "a\\e[2J"\nboard: qemu\nguests: {{a: {{image: x, memory: {"9" * 100_000}}}}}\n')
    with pytest.raises(DescriptionErrors) as caught:
        load(description)
    assert len(str(caught.value)) < 5000
    assert "\x1b" not in str(caught.value) and "\\x1b[2J" in str(caught.value)
