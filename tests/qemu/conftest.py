# SPDX-License-Identifier: BSD-2-Clause
"""A running system for the end-to-end tests: three guests, booted once for all tests of this folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.pipeline.build import Built
from router.testing import Router, Setup
from router.testing.qemu import QemuMachine
from tests.support.end_to_end import BOOT, THREE_GUESTS, Booted, MiB, Shared, build_text

shared = Shared(Path(__file__).parent, "router")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder boots guests from packages."""
    for item in shared.among(items):
        item.add_marker(pytest.mark.qemu)
        item.add_marker(pytest.mark.packages)
        if shutil.which("qemu-system-aarch64") is None:
            item.add_marker(pytest.mark.skip(reason="qemu-system-aarch64 is not installed"))


@pytest.fixture(scope="session")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Three guests; the server has a disk, a keyboard (socket 2, granted by path) and a mouse (not granted)."""
    folder = tmp_path_factory.mktemp("end-to-end")
    disk = folder / "disk.img"
    disk.write_bytes(os.urandom(16 * MiB))
    description = folder / "description.yaml"
    description.write_text(THREE_GUESTS)
    usb = (f"storage:{disk}", "keyboard", "mouse")
    return Setup(description=description, on="split", usb=usb, boot_timeout=BOOT, build=folder / "build")


@pytest.fixture(scope="session")
def shared_place() -> Iterator[str]:
    """Temporary files and control sockets of this folder's systems; its path is short, for unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="run") as folder:
        yield folder


@pytest.fixture(autouse=True)
def _in_place(shared_place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run of another program's system is in the way, and each of ours is the only one."""
    for name in ("TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, shared_place)


@pytest.fixture
def disk(router_setup: Setup) -> Path:
    """The image of the disk in the server."""
    return Path(router_setup.usb[0].removeprefix("storage:"))


@pytest.fixture
def booted(router: Router, disk: Path) -> Booted:
    """The system of `router`, for tests that look at what only its machine has."""
    assert isinstance(router.machine, QemuMachine)
    return Booted(router.machine.system, disk, name=router.name)


@pytest.fixture
def built(tmp_path: Path) -> Callable[[str], Built]:
    """Builds a description's text into the test's own folder."""
    return lambda text: build_text(text, tmp_path)
