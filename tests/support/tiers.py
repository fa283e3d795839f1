# SPDX-License-Identifier: BSD-2-Clause
"""Which tests belong to which tier: `make check` runs the fast ones, `make test` all but the long ones.

DEVELOPING.md has the table of tiers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SLOW = (
    *("install", "labgrid", "lint", "sdk", "vmm", "vswitch"),
    *(
        f"deploy/test_{name}.py"
        for name in ("console", "lab_host", "running_board", "scripted_uboot", "several", "tftp")
    ),
    *("boards/test_third_board.py", "description/test_fuzz.py", "guests/test_newer_tools.py"),
    "overview/test_screen.py",
    *("usbip/test_endurance.py", "usbip/test_fuzz.py", "usbip/test_hostile.py", "usbip/test_peers.py"),
    *(
        "usbip/test_trust.py",
        "usbip/test_untrusted_server.py",
        "machines/test_console_pair.py",
        *(
            "checks/test_properties.py",
            "isolation/test_capdl.py",
            "machines/test_multiplexer.py",
            "machines/test_process.py",
        ),
        *("guests/test_agent.py", "guests/test_apt.py"),
    ),
)
"""Folders and modules whose tests compile C, build packages, search inputs, or wait for the timeouts of others."""
FAST = "not (qemu or deploy or sel4 or packages or slow or long)"
"""The marker expression of `make check`."""


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark the tests of SLOW as slow."""
    for item in items:
        if any(item.path.is_relative_to(TESTS / place) for place in SLOW):
            item.add_marker(pytest.mark.slow)


def group(items: list[pytest.Item]) -> None:
    """Put those that boot systems last, as one group of pytest-xdist, and each other file in a group of its own.

    With `--dist loadgroup --no-loadscope-reorder` all else then runs in parallel, and afterwards one system at a time:
    their timeouts, and what some of them measure, are for a machine that does nothing else.
    """
    items.sort(key=_boots)
    for item in items:
        name = "systems" if _boots(item) else item.path.relative_to(TESTS).as_posix()
        item.add_marker(pytest.mark.xdist_group(name))


def _boots(item: pytest.Item) -> bool:
    # By folder, too: these folders mark their tests only after this.
    by_folder = any(item.path.is_relative_to(TESTS / name) for name in ("qemu", "sel4"))
    return by_folder or any(map(item.get_closest_marker, ("qemu", "deploy")))


def without_long(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long tests unless the marker expression names them."""
    if "long" in config.option.markexpr.replace("not (", "").split():
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
