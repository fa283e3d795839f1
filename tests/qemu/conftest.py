# SPDX-License-Identifier: BSD-2-Clause
"""A running system for the end-to-end tests: three guests, booted once for all tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from router.testing import Setup
from tests.support.booted import booted, built, by_system, disk, in_place, shared_place
from tests.support.end_to_end import THREE_GUESTS, MiB, set_up

__all__ = ["booted", "built", "disk", "in_place", "shared_place"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder boots guests from packages."""
    for item in by_system(items, Path(__file__).parent, first=False):
        item.add_marker(pytest.mark.qemu)
        item.add_marker(pytest.mark.packages)
        if shutil.which("qemu-system-aarch64") is None:
            item.add_marker(pytest.mark.skip(reason="qemu-system-aarch64 is not installed"))


@pytest.fixture(scope="session")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Three guests; the server has a disk, a keyboard (socket 2, granted by path) and a mouse (not granted)."""
    return set_up(tmp_path_factory.mktemp("end-to-end"), THREE_GUESTS, 16 * MiB, "keyboard", "mouse", on="split")
