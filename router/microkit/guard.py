"""Instructions in front of the SDK's boot loader that keep guests from the processor's debug registers.

Release kernels of the SDK neither save the breakpoints and watchpoints of a virtual machine nor trap accesses to them
(they never write MDCR_EL2): one that a guest's kernel sets is met by whoever runs next on that core, and ends a
protection domain. No protection domain can change that, but what runs before the kernel can: the kernel leaves
MDCR_EL2 as it finds it (Arm DDI 0487, D23.2: TDA, TDOSA and TDRA trap debug registers of EL1 to EL2).
"""

from __future__ import annotations

import struct

from router.errors import HostError

CODE = (
    0xD5384249,  # mrs x9, CurrentEL
    0xF100213F,  # cmp x9, #8          (EL2)
    0x540000A1,  # b.ne 1f
    0xD53C1129,  # mrs x9, mdcr_el2
    0xB2770929,  # orr x9, x9, #0xe00  (TDRA, TDOSA, TDA)
    0xD51C1129,  # msr mdcr_el2, x9
    0xD5033FDF,  # isb
    0x10FFFF2A,  # 1: adr x10, the first of these instructions
    0x58000149,  # ldr x9, distance
    0xCB090149,  # sub x9, x10, x9
    0x1800014B,  # ldr w11, replaced
    0xB900012B,  # str w11, [x9]       (the image is as it was)
    0xD50B7B29,  # dc cvau, x9
    0xD5033B9F,  # dsb ish
    0xD50B7529,  # ic ivau, x9
    0xD5033B9F,  # dsb ish
    0xD5033FDF,  # isb
    0xD61F0120,  # br x9
)
LONGEST = 1 << 27
"""Bytes that a branch reaches."""


def guarded(image: bytes) -> bytes:
    """A boot image that begins with a branch to CODE behind it, which undoes that and goes on as before.

    Only for the core that boots: others start elsewhere.
    """
    at = -(-len(image) // 8) * 8
    if at >= LONGEST:
        raise HostError(f"the boot image has {at / 1e6:.0f} MB, and its first instruction reaches {LONGEST / 1e6:.0f}")
    first = image[:4]
    branch = struct.pack("<I", 0x14000000 | at >> 2)
    words = struct.pack(f"<{len(CODE)}IQ", *CODE, at)
    return branch + image[4:].ljust(at - 4, b"\0") + words + first
