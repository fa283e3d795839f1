# SPDX-License-Identifier: BSD-2-Clause
"""Systems on seL4: built with the SDKs that are installed, booted in QEMU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.control.timeline import Timeline
from router.machines.qemu.session import microkit_run
from router.machines.qemu.usb import parse_plugs
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.end_to_end import BOOT, THREE_GUESTS, Booted, MiB, Shared, build_text

shared = Shared(Path(__file__).parent, "on_sel4")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs an SDK, and guests' packages."""
    for item in shared.among(items):
        item.add_marker(pytest.mark.sel4)
        item.add_marker(pytest.mark.packages)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    shared.over(item)


@pytest.fixture(scope="session")
def on_sel4(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """Three guests on the newest SDK; the server has a disk, a keyboard (granted by path) and a mouse (not granted)."""
    need_sdk()
    need_qemu()
    folder = tmp_path_factory.mktemp("sel4")
    disk = folder / "disk.img"
    disk.write_bytes(os.urandom(16 * MiB))
    # A debug kernel says which protection domain has failed, and where; test_run.py has the release ones.
    text = "microkit: {config: debug}\n" + THREE_GUESTS.replace("  stranger:\n", "  stranger:\n    on_exit: stop\n")
    built = build_text(text, folder, loader_image=True)
    plugs = parse_plugs([f"storage:{disk}", "keyboard", "mouse"])
    try:
        system = shared.enter_context(microkit_run(built, plugs, folder / "logs", Timeline()))
        system.wait_ready(BOOT)
        yield Booted(system, disk)
    finally:
        shared.close()
