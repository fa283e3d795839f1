/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * For SDKs that cannot fill a memory region at build time: one protection domain carries every image once and
 * copies each into its region before any VMM runs. The build generates `const struct images_config
 * images_config`.
 */

#include <stdint.h>

struct image_fill {
    const uint8_t *start;
    const uint8_t *end;
    void *region; /* mapped read-write here, read-only in the VMMs */
};

struct images_config {
    uint32_t fills;
    const struct image_fill *fill;
};

extern const struct images_config images_config;

/* Puts a file's bytes into this program, eight-byte aligned, under a name; its end has the suffix _end. The
 * path is looked up in the assembler's include path. */
#define IMAGE(name, path)                                                                                    \
    extern const uint8_t name[], name##_end[];                                                               \
    __asm__(".pushsection .rodata\n.balign 8\n" #name ":\n.incbin \"" path "\"\n" #name                      \
            "_end:\n.popsection\n")
