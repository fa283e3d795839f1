# SPDX-License-Identifier: BSD-2-Clause
"""An arm64 Image header in front of a Microkit loader image, so that U-Boot's `booti` starts it.

`go` is the way that the SDK documents. Where a U-Boot cannot `go` (Debian's build for QEMU never returns from flushing
its console), `booti` is the other: it wants the header of Linux' Documentation/arch/arm64/booting.rst, checks the magic
number and jumps to the first instruction with caches and MMU off, at the exception level that it runs in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from router.errors import DescriptionError

ALIGNMENT = 2 << 20  # booti places an image at a 2 MiB boundary plus text_offset
MAGIC = b"ARM\x64"
# Bits 1-2: page size 4 KiB; bit 3: the image may be anywhere in memory, so that booti leaves it where it was loaded.
FLAGS = 0b1010


@dataclass(frozen=True, slots=True)
class BootiImage:
    """`data` is to be loaded at `address` and started with `booti`; the loader within then is where it belongs."""

    data: bytes
    address: int


def wrap_for_booti(loader: bytes, loader_address: int) -> BootiImage:
    """Put a header and a branch in front of a loader image that must run at `loader_address` (2 MiB aligned).

    The header takes the 2 MiB below that address, so that loading alone puts the loader in its place and a single
    branch instruction is all the code there is. DescriptionError when the address is not aligned.
    """
    if loader_address % ALIGNMENT or loader_address < ALIGNMENT:
        raise DescriptionError(
            f"the loader address {loader_address:#x} is not a multiple of 2 MiB", hint="booti cannot start it there"
        )
    if not loader:
        raise DescriptionError("the loader image is empty", hint="build the system again")
    # A64 `B`: 0b000101 and a signed word offset in 26 bits (Arm ARM C6.2, B).
    branch = 0x14000000 | (ALIGNMENT >> 2)
    header = struct.pack("<IIQQQQQQ4sI", branch, 0, 0, ALIGNMENT + len(loader), FLAGS, 0, 0, 0, MAGIC, 0)
    return BootiImage(header.ljust(ALIGNMENT, b"\0") + loader, loader_address - ALIGNMENT)
