# SPDX-License-Identifier: BSD-2-Clause
"""Fresh randomness for each start of a guest in a QEMU of its own, from this computer's source.

Linux credits `rng-seed` of /chosen, takes its address layout from `kaslr-seed` (dt-schema, schemas/chosen.yaml), and
wipes both. With KASLR Linux isolates page tables even on a core that needs it for nothing else, such as the Cortex-A53,
and a system call under emulation takes 12 times as long: so isolation is off unless the guest's own arguments name it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from router import files
from router.devicetree import Tree
from router.errors import MachineError
from router.pipeline.layout import GuestFiles

RNG_SEED_BYTES = 32
"""As many bits as Linux's generator has for a key (drivers/char/random.c)."""
KASLR_SEED_BYTES = 8
NO_ISOLATION = "kpti=off"


def with_seeds(booted: GuestFiles, copy: Path) -> GuestFiles:
    """The guest's files with seeds in its device tree, which is written to `copy` for this start only."""
    tree = Tree.read(booted.tree, MachineError)
    chosen = tree.root.ensure_child("chosen")
    chosen.set_bytes("rng-seed", os.urandom(RNG_SEED_BYTES))
    chosen.set_bytes("kaslr-seed", os.urandom(KASLR_SEED_BYTES))
    arguments = chosen.string("bootargs") or ""
    if "kpti=" not in arguments:
        chosen.set_strings("bootargs", f"{arguments} {NO_ISOLATION}".strip())
    data = tree.to_bytes()
    with files.open_private(copy) as file:
        file.write(data)
    layout = replace(booted.layout, tree=replace(booted.layout.tree, size=len(data)))
    return replace(booted, tree=copy, layout=layout)
