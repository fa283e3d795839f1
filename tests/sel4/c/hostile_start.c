/* SPDX-License-Identifier: BSD-2-Clause */

/* The image's header, the exception vectors and the stack of hostile.c. */
#include <stdint.h>

/* arm64 boot protocol: the header, then vectors, which must lie on 2 KiB. */
__asm__(".section .head, \"ax\"\n"
        ".global _start\n"
        "_start: b start\n"
        ".long 0\n"
        ".quad 0\n"             /* text_offset */
        ".quad _end - _start\n" /* image_size */
        ".quad 0xa\n"           /* little-endian, 4 KiB pages, anywhere */
        ".quad 0, 0, 0\n"
        ".ascii \"ARM\\x64\"\n"
        ".long 0\n"
        ".balign 2048\n"
        "vectors:\n"
        ".rept 16\n"
        ".balign 128\n"
        "sub sp, sp, #272\n"
        "stp x0, x1, [sp]\n"
        "stp x2, x3, [sp, #16]\n"
        "b trapped\n"
        ".endr\n"
        "trapped:\n"
        "stp x4, x5, [sp, #32]\n"
        "stp x6, x7, [sp, #48]\n"
        "stp x8, x9, [sp, #64]\n"
        "stp x10, x11, [sp, #80]\n"
        "stp x12, x13, [sp, #96]\n"
        "stp x14, x15, [sp, #112]\n"
        "stp x16, x17, [sp, #128]\n"
        "stp x18, x29, [sp, #144]\n"
        "str x30, [sp, #160]\n"
        "mrs x0, esr_el1\n"
        "mrs x1, elr_el1\n"
        "mov x2, x30\n"
        "bl on_exception\n"
        "msr elr_el1, x0\n"
        "ldp x2, x3, [sp, #16]\n"
        "ldp x4, x5, [sp, #32]\n"
        "ldp x6, x7, [sp, #48]\n"
        "ldp x8, x9, [sp, #64]\n"
        "ldp x10, x11, [sp, #80]\n"
        "ldp x12, x13, [sp, #96]\n"
        "ldp x14, x15, [sp, #112]\n"
        "ldp x16, x17, [sp, #128]\n"
        "ldp x18, x29, [sp, #144]\n"
        "ldr x30, [sp, #160]\n"
        "ldp x0, x1, [sp]\n"
        "add sp, sp, #272\n"
        "eret\n"
        "start:\n"
        "adrp x1, vectors\n"
        "add x1, x1, :lo12:vectors\n"
        "msr vbar_el1, x1\n"
        "adrp x1, stack_end\n"
        "add x1, x1, :lo12:stack_end\n"
        "mov sp, x1\n"
        "isb\n"
        "bl main\n"
        "1: wfi\n"
        "b 1b\n"
        ".text\n");

static uint8_t stack[0x4000] __attribute__((aligned(16), used));
__asm__(".global stack_end\n.equ stack_end, stack + 0x4000\n");
