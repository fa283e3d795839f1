/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Where a guest's kernel, device tree and initial RAM disk go, by the arm64 boot protocol
 * (Linux, Documentation/arm64/booting.rst).
 */

#include <stdbool.h>
#include <stdint.h>

#define IMAGE_HEADER_BYTES 64u

struct image_header {
    uint64_t text_offset; /* from a 2 MiB boundary */
    uint64_t image_size;  /* bytes that the running kernel needs, its BSS included: more than the file has */
    uint64_t flags;
};

/* False when the bytes are no little-endian arm64 Image that says its size. */
bool image_parse(const uint8_t header[IMAGE_HEADER_BYTES], struct image_header *image);

struct guest_layout {
    uint64_t ram_base;
    uint64_t ram_size;
    uint64_t kernel_file_size;
    uint64_t dtb;
    uint64_t dtb_size;
    uint64_t initrd; /* 0 size: none */
    uint64_t initrd_size;
};

enum layout_fault {
    LAYOUT_OK,
    LAYOUT_KERNEL_HEADER,  /* image_size smaller than the file, or text_offset above 2 MiB */
    LAYOUT_KERNEL_RAM,     /* the kernel does not fit the RAM */
    LAYOUT_DTB_RAM,        /* the device tree lies outside the RAM */
    LAYOUT_DTB_ALIGN,      /* the device tree is not on 8 bytes, or above 2 MiB */
    LAYOUT_INITRD_RAM,     /* the RAM disk lies outside the RAM */
    LAYOUT_DTB_OVERLAP,    /* the device tree overlaps the kernel */
    LAYOUT_INITRD_OVERLAP, /* the RAM disk overlaps the kernel or the device tree */
};

/* Places the kernel and checks that nothing overlaps anything. `entry` is where the kernel goes and starts.
 */
enum layout_fault layout_check(const struct guest_layout *layout, const struct image_header *image,
                               uint64_t *entry);

const char *layout_fault_text(enum layout_fault fault);
