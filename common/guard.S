/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs in front of the SDK's boot loader and keeps guests from the processor's debug registers and counters.
 *
 * Release kernels of the SDK neither save the breakpoints and watchpoints of a virtual machine nor trap accesses
 * to them (they never write MDCR_EL2): one that a guest's kernel sets is met by the next program on that core,
 * and ends a protection domain. No protection domain can change that, but what runs before the kernel can: the
 * kernel leaves MDCR_EL2 as it finds it (Arm DDI 0487, D23.2: TDA, TDOSA and TDRA trap debug registers of EL1 to
 * EL2, TPM and TPMCR the performance monitors). The kernel does not save the counters either: a guest would count
 * what the others and the kernel do. Only the boot core runs this.
 *
 * The image's first instruction is a branch to here. This code puts the replaced instruction back, makes it
 * visible to the instruction fetch and goes on at the image's start. It is position independent; the build fills
 * in the two words behind it.
 */
        .section .text.guard, "ax"
        .balign 8

guard:  mrs     x9, CurrentEL
        cmp     x9, #8                  /* EL2 */
        b.ne    1f
        mrs     x9, mdcr_el2
        orr     x9, x9, #0xe00          /* TDRA, TDOSA, TDA */
        orr     x9, x9, #0x60           /* TPM, TPMCR */
        msr     mdcr_el2, x9
        isb
1:      adr     x10, guard
        ldr     x9, distance
        sub     x9, x10, x9             /* the image's start */
        ldr     w11, replaced
        str     w11, [x9]
        dc      cvau, x9
        dsb     ish
        ic      ivau, x9
        dsb     ish
        isb
        br      x9
        nop                             /* caches are off, so the words below must be aligned */

distance:
        .quad   0                       /* bytes from the image's start to `guard` */
replaced:
        .word   0                       /* the image's first instruction */
