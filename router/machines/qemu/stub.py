# SPDX-License-Identifier: BSD-2-Clause
"""The first instructions of a guest that QEMU starts without a boot loader: Linux's entry state, then a jump.

Linux wants x0 = device tree, x1 = x2 = x3 = 0 (Documentation/arm64/booting.rst). QEMU's `-kernel` would do it too, but
rewrites the memory and chosen nodes of the tree; here the guest must boot from exactly the tree that was built.
"""

from __future__ import annotations

import struct

SIZE = 0x28


def boot_stub(kernel: int, tree: int) -> bytes:
    """Machine code (A64, position independent) that enters a kernel at address `kernel` with the tree at `tree`.

    >>> len(boot_stub(0x8000_0000, 0x8000_0000)) == SIZE
    True
    """
    code = (
        0x580000C0,  # ldr x0, tree    (pc + 0x18)
        0x580000E4,  # ldr x4, kernel  (pc + 0x1c)
        0xAA1F03E1,  # mov x1, xzr
        0xAA1F03E2,  # mov x2, xzr
        0xAA1F03E3,  # mov x3, xzr
        0xD61F0080,  # br x4
    )
    return struct.pack("<6IQQ", *code, tree, kernel)
