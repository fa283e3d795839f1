# SPDX-License-Identifier: BSD-2-Clause
"""What stands in for the secure firmware on a machine that starts in EL3 and brings none: a few instructions of ours.

They do what seL4 and its loader expect of TF-A: interrupts in group 1, the first core's redistributor awake, EL2 with
system registers for the GIC, and an answer to PSCI_VERSION. Sources: Arm GICv3 specification (IHI 0069) 12.9 and
12.11, Arm architecture reference manual (DDI 0487) D19, PSCI (DEN 0022) 5.3, SMC calling convention (DEN 0028) 2.
"""

from __future__ import annotations

import struct

from router.boards.model import Gic

SIZE = 0x1000
VECTORS = 0x800
"""Offset of the exception vectors: VBAR_EL3 has 11 zero bits at its end."""
FROM_LOWER_LEVEL = 0x400
"""Offset in the vectors of a synchronous exception from AArch64 below."""
CONSTANTS = 0x90
"""Offset of the three addresses behind the code."""

START = (
    0x58000480,  # ldr  x0, distributor
    0x52800601,  # mov  w1, #0x30             ARE_S and ARE_NS first: they may change only while no group is on
    0xB9000001,  # str  w1, [x0]              GICD_CTLR
    0x528006E1,  # mov  w1, #0x37             and all groups
    0xB9000001,  # str  w1, [x0]
    0x91021002,  # add  x2, x0, #0x84         GICD_IGROUPR1, the first of shared interrupts
    0x91040003,  # add  x3, x0, #0x100
    0x2A3F03E4,  # mvn  w4, wzr
    0xB8004444,  # str  w4, [x2], #4
    0xEB03005F,  # cmp  x2, x3
    0x54FFFFC1,  # b.ne .-8
    0x58000360,  # ldr  x0, redistributor
    0xB9401401,  # ldr  w1, [x0, #0x14]       GICR_WAKER
    0x121E7821,  # and  w1, w1, #~2           ProcessorSleep off
    0xB9001401,  # str  w1, [x0, #0x14]
    0xB9401401,  # ldr  w1, [x0, #0x14]
    0x3717FFE1,  # tbnz w1, #2, .-4           until ChildrenAsleep is off
    0x91404000,  # add  x0, x0, #0x10000      its frame of private interrupts
    0xB9008004,  # str  w4, [x0, #0x80]       GICR_IGROUPR0
    0xD28001E1,  # mov  x1, #0xf              SRE, DFB, DIB, Enable
    0xD51ECCA1,  # msr  icc_sre_el3, x1
    0xD5033FDF,  # isb
    0xD51CC9A1,  # msr  icc_sre_el2, x1
    0xD280A021,  # mov  x1, #0x501            NS, HCE, RW: the levels below are non-secure and AArch64, with HVC
    0xD51E1101,  # msr  scr_el3, x1
    0xD5033FDF,  # isb
    0xD51CC9A1,  # msr  icc_sre_el2, x1
    0x10003CA1,  # adr  x1, vectors
    0xD51EC001,  # msr  vbar_el3, x1
    0xD51E115F,  # msr  cptr_el3, xzr
    0xD2807921,  # mov  x1, #0x3c9            EL2 with its own stack pointer, all interrupts masked
    0xD51E4001,  # msr  spsr_el3, x1
    0x58000101,  # ldr  x1, entry
    0xD51E4021,  # msr  elr_el3, x1
    0xAA1F03E0,  # mov  x0, xzr
    0xD69F03E0,  # eret
)
CALL = (
    0x52B08001,  # mov  w1, #0x84000000       PSCI_VERSION
    0x6B01001F,  # cmp  w0, w1
    0x54000061,  # b.ne .+12
    0x320083E0,  # mov  w0, #0x10001          1.1
    0xD69F03E0,  # eret
    0x92800000,  # mov  x0, #-1               NOT_SUPPORTED
    0xD69F03E0,  # eret
)


def firmware(gic: Gic, entry: int) -> bytes:
    """Machine code (A64, position independent at 2 KiB) that starts at its first byte in EL3 and enters `entry` in EL2.

    gic: version 3, at the physical addresses that the board has it at.

    >>> from router.boards.model import Range
    >>> len(firmware(Gic(3, Range(0, 0x10000), redistributor=Range(0x80000, 0x20000)), 0x50000000)) == SIZE
    True
    """
    assert gic.redistributor is not None, "a GIC of version 3"
    code = bytearray(SIZE)
    struct.pack_into(f"<{len(START)}I", code, 0, *START)
    struct.pack_into("<3Q", code, CONSTANTS, gic.distributor.start, gic.redistributor.start, entry)
    struct.pack_into(f"<{len(CALL)}I", code, VECTORS + FROM_LOWER_LEVEL, *CALL)
    return bytes(code)
