# SPDX-License-Identifier: BSD-2-Clause
"""A description from elsewhere gives its guests no file of the user's without the user's agreement."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from router.cli import main
from router.description.load import load, outside_files
from router.description.models import ImageFiles
from router.errors import DescriptionError

KERNEL = struct.pack("<16xQ", 64).ljust(56, b"\0") + b"ARMd" + bytes(4)
TEXT = """
system: demo
board: qemu
guests:
  server: {image: usb-server, passthrough: [pcie@3f000000]}
  own: {image: {kernel: KERNEL, initramfs: INITRAMFS}}
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the user's beside the folder from elsewhere."""
    path = tmp_path / "secret"
    path.write_text("of the user")
    (tmp_path / "Image").write_bytes(KERNEL)
    return path


def described(folder: Path, kernel: str, initramfs: str) -> Path:
    """A description in that folder, which also has a kernel and an initramfs of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "Image").write_bytes(KERNEL)
    (folder / "root.cpio").write_bytes(b"070701")
    path = folder / "demo.yaml"
    path.write_text(TEXT.replace("KERNEL", kernel).replace("INITRAMFS", initramfs))
    return path


def errors(path: Path) -> str:
    with pytest.raises(DescriptionError) as caught:
        load(path)
    return str(caught.value)


@pytest.mark.parametrize("way", ["relative", "absolute", "link"])
def test_a_description_reads_no_file_outside_its_folder(tmp_path: Path, secret: Path, way: str) -> None:
    folder = tmp_path / "foreign"
    name = {"relative": "../secret", "absolute": str(secret), "link": "inside"}[way]
    path = described(folder, "Image", name)
    (folder / "inside").symlink_to(secret)
    said = errors(path)
    assert f"'{name}' is outside the description's folder" in said
    assert f"router trust {path}" in said
    path = described(folder, "../Image", "root.cpio")
    assert "'../Image' is outside the description's folder" in errors(path)


def test_a_device_tree_outside_the_folder_is_not_read_either(tmp_path: Path, secret: Path) -> None:
    path = described(tmp_path / "foreign", "Image", "root.cpio")
    path.write_text(path.read_text() + f"device_tree: {secret}\n")
    assert f"'{secret}' is outside the description's folder" in errors(path)
    assert outside_files(path) == (secret,)


def test_an_image_file_reads_nothing_outside_the_descriptions_folder(tmp_path: Path, secret: Path) -> None:
    folder = tmp_path / "foreign"
    path = described(folder, "Image", "root.cpio")
    (folder / "image.yaml").write_text("kernel: Image\ninitramfs: ../secret\n")
    path.write_text(path.read_text().replace("{kernel: Image, initramfs: root.cpio}", "image.yaml"))
    assert "'../secret' is outside the description's folder" in errors(path)
    assert outside_files(path) == (secret,)


def test_agreeing_is_to_these_files_and_lasts_when_they_change(
    tmp_path: Path, secret: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = described(tmp_path / "mine", "../Image", "../secret")
    assert main(["trust", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"reads {tmp_path / 'Image'}" in shown and f"reads {secret}" in shown
    image = load(path).description.guests["own"].image
    assert isinstance(image, ImageFiles) and image.initramfs == Path("../secret")
    (tmp_path / "Image").write_bytes(KERNEL[:-4] + b"next")
    path.write_text(path.read_text().replace("system: demo", "system: other"))
    load(path)
    (tmp_path / "another").write_text("not agreed to")
    assert "'../another' is outside" in errors(described(path.parent, "../Image", "../another"))
    assert "'../secret' is outside" in errors(described(tmp_path / "elsewhere", "Image", "../secret"))


def test_a_link_that_leads_to_another_file_later_asks_again(tmp_path: Path, secret: Path) -> None:
    path = described(tmp_path / "mine", "Image", "link")
    link = path.parent / "link"
    link.symlink_to(tmp_path / "Image")
    assert main(["trust", str(path)]) == 0
    load(path)
    link.unlink()
    link.symlink_to(secret)
    assert "'link' is outside" in errors(path)


def test_a_description_that_reads_nothing_outside_needs_no_agreement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = described(tmp_path / "mine", "Image", "root.cpio")
    load(path)
    assert main(["trust", str(path)]) == 0
    assert "reads no file outside its folder" in capsys.readouterr().out
    assert not (tmp_path / "state").exists()
