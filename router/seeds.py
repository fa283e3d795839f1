# SPDX-License-Identifier: BSD-2-Clause
"""Fresh randomness for each start of a guest: room for it in the device trees, filled by what starts the guest.

Linux credits `rng-seed` of /chosen, takes its address layout from `kaslr-seed` (dt-schema, schemas/chosen.yaml), and
wipes both. A built tree has neither, because what an image holds is the same at each start. It has two properties of
the same sizes whose names end in those names and whose values are known constants. So a tree can be found and filled
within a loader image whose other parts are not understood: the names' offsets move past "router,", the values become
random. Left unfilled, they mean nothing to a guest. Standard library only: the runner on a lab host fills images too.
"""

from __future__ import annotations

import os
import re
import struct

OWNER = "router,"
"""What the names of the room begin with."""
RNG_ROOM = bytes.fromhex("f106732fe56e22f8ce19b363f379e694790f37933aef23940410203eedd078b9")
"""As many bits as Linux's generator has for a key (drivers/char/random.c)."""
KASLR_ROOM = bytes.fromhex("6e7ff847e015a360")
ROOM = {f"{OWNER}rng-seed": RNG_ROOM, f"{OWNER}kaslr-seed": KASLR_ROOM}
"""The properties of /chosen, one behind the other in this order."""

_PROPERTY = struct.pack(">I", 3)  # FDT_PROP (Devicetree Specification 0.4, 5.4.1)


def _pattern(room: bytes) -> bytes:
    # A guest's image may hold the same bytes by intent: an offset that could not be moved is not a tree's.
    return re.escape(_PROPERTY + struct.pack(">I", len(room))) + b"([^\xff].{3})" + re.escape(room)


_ROOM = re.compile(_pattern(RNG_ROOM) + _pattern(KASLR_ROOM), re.DOTALL)


def fill(data: bytes) -> tuple[bytes, int]:
    """A device tree, or an image with several in it, with fresh seeds in each; and in how many. The length stays."""
    return _ROOM.subn(_seeds, data)


def _seeds(room: re.Match[bytes]) -> bytes:
    filled = b""
    for name_at, value in zip(room.groups(), ROOM.values(), strict=True):
        (offset,) = struct.unpack(">I", name_at)
        filled += _PROPERTY + struct.pack(">II", len(value), offset + len(OWNER)) + os.urandom(len(value))
    return filled
