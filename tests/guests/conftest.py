# SPDX-License-Identifier: BSD-2-Clause
"""What the guest image tests share: images built from the machine's package sources, and busybox on this computer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from router.errors import HostError
from router.guests.image import GuestImage, build_image


@pytest.fixture(scope="session")
def guest_image() -> Callable[[str], GuestImage]:
    """Builds an image type into the usual cache, or skips with the reason why this machine cannot."""

    def build(name: str) -> GuestImage:
        for tool in ("apt-get", "dpkg-deb", "zstd"):
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed")
        try:
            return build_image(name)
        except HostError as error:
            pytest.skip(f"no arm64 packages: {error}")

    return build


@pytest.fixture
def applets(tmp_path: Path) -> Path:
    """A folder in which every name is a busybox applet."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is not installed")
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in (
        "sh",
        "dd",
        "base64",
        "setsid",
        "stty",
        "hostname",
        "mkdir",
        "rm",
        "sleep",
        "cat",
        "seq",
        "head",
        "echo",
        "awk",
        "chmod",
        "mkfifo",
    ):
        (folder / name).symlink_to(busybox)
    return folder
