/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A short program that runs on the guest's vCPUs before a restart. Interrupts that were active or pending in the stopped
 * guest are still in list registers, and only the guest's own CPU interface can complete them. So: forget the active priorities, end everything that the VMM says is in a list register
 * (which ends what was active), acknowledge and end what is pending, one by one because an acknowledged
 * interrupt masks those of its priority, and call the VMM until it has seen all these ends.
 *
 *   x2        GICv2: address of the CPU interface
 *   x4 to x7  sixteen interrupt numbers of 16 bits; 0xffff is none
 *
 * Position independent; the VMM copies it into the guest's RAM.
 */

        .section .rodata.drain, "a"
        .balign 8

        .global drain_gicv2, drain_gicv2_end, drain_gicv3, drain_gicv3_end

        /* Shifts the sixteen numbers down by one. */
        .macro next_number
        extr    x4, x5, x4, #16
        extr    x5, x6, x5, #16
        extr    x6, x7, x6, #16
        lsr     x7, x7, #16
        .endm

drain_gicv2:
        str     wzr, [x2, #0xd0]        /* GICC_APR0 */
        mov     w8, #0xff
        str     w8, [x2, #0x04]         /* GICC_PMR: nothing is masked */
        mov     w8, #1
        str     w8, [x2, #0x00]         /* GICC_CTLR: group 0 on, EOI also deactivates */
        mov     w3, #16
1:      and     w8, w4, #0xffff
        cmp     w8, #1020
        b.hs    2f
        str     w8, [x2, #0x10]         /* GICC_EOIR */
2:      next_number
        subs    w3, w3, #1
        b.ne    1b
3:      ldr     w8, [x2, #0x0c]         /* GICC_IAR */
        and     w9, w8, #0x3ff
        cmp     w9, #1020
        b.hs    4f
        str     w8, [x2, #0x10]
        b       3b
4:      str     wzr, [x2, #0xd0]
        str     wzr, [x2, #0x00]
5:      hvc     #0
        b       5b
drain_gicv2_end:

        .balign 8
drain_gicv3:
        msr     S3_0_C12_C8_4, xzr      /* ICC_AP0R0_EL1 */
        msr     S3_0_C12_C9_0, xzr      /* ICC_AP1R0_EL1 */
        mov     x8, #0xff
        msr     S3_0_C4_C6_0, x8        /* ICC_PMR_EL1 */
        msr     S3_0_C12_C12_4, xzr     /* ICC_CTLR_EL1: EOI also deactivates */
        mov     x8, #1
        msr     S3_0_C12_C12_7, x8      /* ICC_IGRPEN1_EL1 */
        isb
        mov     w3, #16
1:      and     x8, x4, #0xffff
        cmp     x8, #1020
        b.hs    2f
        msr     S3_0_C12_C12_1, x8      /* ICC_EOIR1_EL1 */
2:      next_number
        subs    w3, w3, #1
        b.ne    1b
3:      mrs     x8, S3_0_C12_C12_0      /* ICC_IAR1_EL1 */
        dsb     sy
        and     x9, x8, #0xffffff
        cmp     x9, #1020
        b.hs    4f
        msr     S3_0_C12_C12_1, x8
        b       3b
4:      msr     S3_0_C12_C9_0, xzr
        msr     S3_0_C12_C12_7, xzr
        isb
5:      hvc     #0
        b       5b
drain_gicv3_end:
