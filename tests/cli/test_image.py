# SPDX-License-Identifier: BSD-2-Clause
"""`router image`: what it refuses before it fetches or writes anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.cli import main
from router.guests.rootfs import build
from router.guests.rootfs.build import RootFs


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["qemu.yaml"], "the image has no name\n  name it by --sdcard OUT"),
        (["qemu.yaml", "vim", "--sdcard", "x"], "'vim' is one word too many\n  packages follow the word 'rootfs'"),
        (["rootfs", "--sdcard", "x"], "a root file system is no SD card image\n  name it by -o FILE"),
        (["rootfs", "--label", "my disk"], "'my disk' is not a label\n  write 1 to 16 letters"),
        (["rootfs", "--size", "4"], "a size needs a unit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_words_that_do_not_fit_are_an_error_that_says_what_to_write(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["image", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_root_file_system_that_is_there_is_written_over_by_force_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[Path] = []

    def build_rootfs(names: list[str], out: Path, **_: object) -> RootFs:
        asked.append(out)
        return RootFs(out, "DEBIAN", 1, 1, ())

    monkeypatch.setattr(build, "build_rootfs", build_rootfs)
    disk = tmp_path / "DEBIAN.img"
    disk.write_bytes(b"a guest's disk")
    for words in ([], ["-o", "DEBIAN.img"]):
        assert main(["image", "rootfs", *words]) == 2
        said = capsys.readouterr().err
        assert "DEBIAN.img: error: this is there already" in said and "--force writes over it" in said
    assert (asked, disk.read_bytes()) == ([], b"a guest's disk")
    assert main(["image", "rootfs", "--force"]) == 0
    assert main(["image", "rootfs", "-o", "other.img"]) == 0
    assert asked == [Path("DEBIAN.img"), Path("other.img")]
