# SPDX-License-Identifier: BSD-2-Clause
"""Which tests belong to which tier: `make check` runs the fast ones, `make test` all but the long ones.

DEVELOPING.md has the table of tiers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).resolve().parents[1]
SLOW = (
    *("install", "labgrid", "lint", "sdk", "vmm", "vswitch"),
    *(
        f"deploy/test_{name}.py"
        for name in ("console", "lab_host", "running_board", "scripted_uboot", "several", "tftp")
    ),
    *("boards/test_third_board.py", "description/test_fuzz.py", "fuzz/test_native.py", "guests/test_newer_tools.py"),
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


SYSTEMS = "systems"
"""The group of the tests that boot something."""


@functools.cache
def group(path: Path) -> str:
    """The tests that one worker of pytest-xdist runs, one after the other: those of a file, or all that boot systems.

    The timeouts of these, and what some of them measure, are for a computer that does nothing else.
    """
    by_folder = any(path.is_relative_to(TESTS / name) for name in ("qemu", "sel4"))
    return SYSTEMS if by_folder or re.search(r"\bmark\.(qemu|deploy)\b", path.read_text()) else str(path)


def order(items: list[pytest.Item]) -> None:
    """Put those that boot systems last, so that all workers have ended what can run in parallel."""
    items.sort(key=lambda item: group(item.path) == SYSTEMS)


def scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """What hands the groups to the workers of pytest-xdist. Its own loadgroup does not see marks with pytest 9."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group(config.rootpath / nodeid.partition("::")[0])

    return Groups(config, log)


def without_long(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long tests unless the marker expression names them."""
    if "long" in config.option.markexpr.replace("not (", "").split():
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
