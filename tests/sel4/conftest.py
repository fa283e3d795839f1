# SPDX-License-Identifier: BSD-2-Clause
"""Systems on seL4: built with the SDKs that are installed, booted in QEMU by router's own pytest plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.testing import Setup
from tests.sel4.needs import need_qemu, need_sdk
from tests.support.booted import booted, by_system, disk, in_place, shared_place
from tests.support.end_to_end import THREE_GUESTS, MiB, set_up

__all__ = ["booted", "disk", "in_place", "shared_place"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs an SDK, and guests' packages."""
    for item in by_system(items, Path(__file__).parent, first=True):
        item.add_marker(pytest.mark.sel4)
        item.add_marker(pytest.mark.packages)


@pytest.fixture(scope="session")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Three guests on the newest SDK; the server has a disk, a keyboard (granted by path) and a mouse (not granted)."""
    need_sdk()
    need_qemu()
    # A debug kernel says which protection domain has failed, and where; test_run.py has the release ones.
    text = "microkit: {config: debug}\n" + THREE_GUESTS.replace("  stranger:\n", "  stranger:\n    on_exit: stop\n")
    return set_up(tmp_path_factory.mktemp("sel4"), text, 16 * MiB, "keyboard", "mouse")
