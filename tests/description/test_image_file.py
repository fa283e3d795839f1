# SPDX-License-Identifier: BSD-2-Clause
"""An image in a file beside the description is the same as one that is written in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from router.description.load import load
from router.description.models import ExtendedImage
from router.errors import DescriptionError
from router.pipeline.inputs import image_definitions

SYSTEM = """
system: demo
board: qemu
guests:
  server: {{image: usb-server, passthrough: [pcie@3f000000]}}
  client: {{image: {client}}}
  other: {{image: {other}}}
"""


def described(folder: Path, client: str, other: str = "usb-client") -> Path:
    path = folder / "demo.yaml"
    path.write_text(SYSTEM.format(client=client, other=other))
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image file in a folder of its own, with what it names."""
    folder = tmp_path / "images"
    (folder / "overlay/etc").mkdir(parents=True)
    (folder / "overlay/etc/motd").write_text("hello\n")
    (folder / "start.sh").write_text("#!/bin/sh\n")
    path = folder / "mine.yaml"
    path.write_text("extends: usb-client\npackages: [alsa-utils]\nmodules: [xfs]\nfiles: overlay\nrun: start.sh\n")
    return path


def test_an_image_file_is_what_could_stand_in_the_description(tmp_path: Path, image: Path) -> None:
    loaded = load(described(tmp_path, "images/mine.yaml", "./images/mine.yaml"))
    mine = loaded.description.guests["client"].image
    assert isinstance(mine, ExtendedImage)
    assert (mine.packages, mine.modules) == (("alsa-utils",), ("xfs",))
    assert (mine.files, mine.run) == (Path("images/overlay"), Path("images/start.sh"))
    assert loaded.description.guests["other"].image == mine
    assert loaded.image_files == (image, image)
    (definition,) = (one for one in image_definitions(loaded).values() if one.own)
    assert definition.own is not None and definition.own.files == image.parent / "overlay"


def test_an_image_file_may_name_a_kernel_and_an_initramfs(tmp_path: Path, image: Path) -> None:
    image.write_text("kernel: Image\ninitramfs: root.cpio\nrole: client\n")
    with pytest.raises(DescriptionError) as caught:
        load(described(tmp_path, "images/mine.yaml"))
    assert "images/mine.yaml:1:9: error: there is no file 'images/Image'" in str(caught.value)


def test_an_error_in_an_image_file_is_shown_there_beside_those_of_the_description(tmp_path: Path, image: Path) -> None:
    image.write_text("extends: usb-client\nrun: gone.sh\n")
    path = described(tmp_path, "images/mine.yaml", "usb-clinet")
    with pytest.raises(DescriptionError) as caught:
        load(path)
    text = str(caught.value)
    assert f"{image}:2:6: error: 'images/gone.sh' is not there" in text
    assert f"{path}:7:18: error: unknown image 'usb-clinet'" in text
    assert text.endswith(f"2 errors in {path}, {image}")


def test_a_file_that_is_not_yaml_says_where(tmp_path: Path, image: Path) -> None:
    image.write_text("extends: [usb-client\n")
    with pytest.raises(DescriptionError, match=r"images/mine\.yaml:1:"):
        load(described(tmp_path, "images/mine.yaml"))


def test_a_link_out_of_the_descriptions_folder_is_refused(tmp_path: Path, image: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "mine.yaml").symlink_to(image)
    with pytest.raises(DescriptionError, match="is outside the description's folder"):
        load(described(inner, "mine.yaml"))


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(DescriptionError, match="it is not a file, but a device or a pipe"):
        load(tmp_path / "pipe.yaml")
    with pytest.raises(DescriptionError, match="it is not a file, but a device or a pipe"):
        load(described(tmp_path, "./pipe.yaml"))


def test_a_name_that_no_file_can_have_is_an_error_in_the_description(tmp_path: Path) -> None:
    path = described(tmp_path, r'"./a\0.yaml"')
    with pytest.raises(DescriptionError, match=r"demo\.yaml:6:\d+: error: cannot read 'a\\x00\.yaml': embedded null"):
        load(path)
    for field in ("run", "files"):
        with pytest.raises(DescriptionError, match=r"cannot read 'a\\x00b': embedded null"):
            load(described(tmp_path, rf'{{extends: usb-client, {field}: "a\0b"}}'))
    (tmp_path / "circle.yaml").symlink_to("circle.yaml")
    with pytest.raises(DescriptionError, match="cannot read"):
        load(described(tmp_path, "circle.yaml"))
