# SPDX-License-Identifier: BSD-2-Clause
"""A place that cannot be written to is one sentence and exit code 3, on every command, and nothing is left there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.cli import main

COMMANDS = {
    "check --picture": "check qemu.yaml --picture {}",
    "build --output": "build qemu.yaml -o {}",
    "run --output": "run qemu.yaml --mode split -o {}",
    "run --logs": "run qemu.yaml --mode split --logs {}",
    "run --capture": "run qemu.yaml --mode split --capture {}/frames.pcapng",
    "image --sdcard": "image qemu.yaml -o {} --sdcard card.img",
    "deploy --output": "deploy qemu.yaml -o {}",
}
PLACES = ("file", "file/below", "file/below/deep")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file where a folder should be."""
    (tmp_path / "file").write_text("kept")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sentence(err: str) -> list[str]:
    """The lines of an error, without progress lines."""
    return [line for line in err.splitlines() if " s  " not in line]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_in_the_place_of_a_folder(
    command: str, place: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command == "check --picture" and place == "file":
        pytest.skip("a file may be overwritten by a picture")
    assert main(COMMANDS[command].format(place).split()) == 3
    lines = sentence(capsys.readouterr().err)
    assert "error: cannot use this file or folder: " in lines[0] and "file" in lines[0]
    assert len(lines) <= 2 and "Traceback" not in lines[0]
    assert (folder / "file").read_text() == "kept"
    assert {path.name for path in folder.iterdir()} <= {"file", "build"}


@pytest.mark.parametrize(("command", "reason"), [("check qemu.yaml --picture .", "Is a directory")])
def test_a_folder_in_the_place_of_a_file(
    command: str, reason: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 3
    assert reason in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_without_permission(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "closed").mkdir(0o500)
    assert main(COMMANDS[command].format("closed/x").split()) == 3
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_a_full_disk_is_said_and_a_device_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "qemu.yaml", "--picture", "/dev/full"]) == 3
    assert "/dev/full: error: cannot use this file or folder: No space left on device" in capsys.readouterr().err
    assert Path("/dev/full").is_char_device()


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no /dev/full")
def test_an_output_that_takes_nothing_is_said_too() -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [sys.executable, "-m", "router", "check", "qemu.yaml"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert run.returncode == 3
    assert sentence(run.stderr)[0] == "error: cannot write: No space left on device"
    assert "Exception ignored" not in run.stderr


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB that is full."""
    mount = tmp_path / "tiny"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True)
    if done.returncode:
        pytest.skip("only root can mount a tiny file system")
    try:
        with (mount / "ballast").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(4096))
        yield mount
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_full_file_system_keeps_nothing_half_written(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "qemu.yaml", "--picture", str(tiny / "picture.svg")]) == 3
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in tiny.iterdir()] == ["ballast"]


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "XDG_STATE_HOME"])
def test_a_cache_or_state_folder_that_is_a_file(
    variable: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, str(folder / "file"))
    lab = "boards:\n  desk: {board: maaxboard, serial: /dev/null, load: ymodem}\n"
    (folder / "boards.yaml").write_text(lab)
    command = "build qemu.yaml" if variable == "XDG_CACHE_HOME" else "trust boards.yaml"
    assert main(command.split()) == 3
    lines = sentence(capsys.readouterr().err)
    assert len(lines) <= 2 and "error: cannot use this f" in lines[0] and "file" in lines[0]
