# SPDX-License-Identifier: BSD-2-Clause
"""Which tests belong to which tier: `make check` runs the fast ones, `make test` all but the long ones.

DEVELOPING.md has the table of tiers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SLOW_FOLDERS = ("install", "lint", "sdk", "vmm", "vswitch")
"""Folders whose tests compile C with sanitizers, build packages or work on whole archives."""
FAST = "not (qemu or deploy or sel4 or packages or slow or long)"
"""The marker expression of `make check`."""


def mark(items: Iterable[pytest.Item]) -> None:
    """Mark the tests of SLOW_FOLDERS as slow."""
    for item in items:
        if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).parts[0] in SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)


def without_long(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long tests unless the marker expression names them."""
    if "long" in config.option.markexpr.replace("not (", "").split():
        return
    long = [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
