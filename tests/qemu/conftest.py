# SPDX-License-Identifier: BSD-2-Clause
"""A running system for the end-to-end tests: three guests, booted once for all tests of this folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.control.place import Claim
from router.control.server import ControlServer
from router.control.timeline import Timeline
from router.machines.qemu.session import split_run
from router.machines.qemu.usb import parse_plugs
from router.pipeline.build import Built
from tests.support.end_to_end import BOOT, THREE_GUESTS, Booted, MiB, Shared, build_text, own_place

shared = Shared(Path(__file__).parent, "booted")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder boots guests from packages."""
    for item in shared.among(items):
        item.add_marker(pytest.mark.qemu)
        item.add_marker(pytest.mark.packages)
        if shutil.which("qemu-system-aarch64") is None:
            item.add_marker(pytest.mark.skip(reason="qemu-system-aarch64 is not installed"))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    shared.over(item)


@pytest.fixture(scope="session")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """Three guests; the server has a disk, a keyboard (socket 2, granted by path) and a mouse (not granted)."""
    folder = tmp_path_factory.mktemp("end-to-end")
    disk = folder / "disk.img"
    disk.write_bytes(os.urandom(16 * MiB))
    built = build_text(THREE_GUESTS, folder)
    plugs = parse_plugs([f"storage:{disk}", "keyboard", "mouse"])
    try:
        shared.enter_context(own_place())
        claim = shared.enter_context(Claim(built.plan.name))
        system = shared.enter_context(split_run(built, plugs, folder / "logs", Timeline()))
        shared.enter_context(ControlServer(claim, system, "split"))
        system.wait_ready(BOOT)
        yield Booted(system, disk)
    finally:
        shared.close()


@pytest.fixture
def built(tmp_path: Path) -> Callable[[str], Built]:
    """Builds a description's text into the test's own folder."""
    return lambda text: build_text(text, tmp_path)
