# SPDX-License-Identifier: BSD-2-Clause
"""Copies of what QEMU starts, with randomness for this start only, from this computer's source."""

from __future__ import annotations

from pathlib import Path

from router import files
from router.errors import MachineError
from router.seeds import fill


def with_seeds(built: Path, copy: Path, guests: int) -> Path:
    """A guest's device tree, or an image with the trees of several, with fresh seeds in `copy`, which only we read.

    guests: how many trees it has. MachineError when it does not have that many with room for seeds.
    """
    filled, found = fill(built.read_bytes())
    if found != guests:
        raise MachineError(
            f"there is room for the seeds of {found} guests, and {guests} are to start",
            hint="build the system again",
            where=str(built),
        )
    with files.open_private(copy) as file:
        file.write(filled)
    return copy
