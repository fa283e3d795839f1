# SPDX-License-Identifier: BSD-2-Clause
"""What a switch that is a protection domain has counted, for tests."""

from __future__ import annotations

from router.console.counts import FRAMES, Counts
from router.machines import switch_rows
from router.machines.switch_rows import DROPS, REASONS


def counts_of(kind: str = FRAMES, **values: int) -> Counts:
    """Counts with some values by the names of their places, or of reasons with `_` for `-`; all others are 0."""
    reasons = REASONS[kind]
    numbers = [0] * (DROPS + len(reasons))
    for name, value in values.items():
        place = getattr(switch_rows, name, None)
        numbers[DROPS + reasons.index(name.replace("_", "-")) if place is None else place] = value
    return Counts(kind, tuple(numbers))
