/* SPDX-License-Identifier: BSD-2-Clause */
#include "guest_image.h"

#define MIB2 0x200000ULL
#define MAGIC 0x644d5241u /* "ARM\x64" */
#define FLAG_BIG_ENDIAN 1u

static uint64_t little(const uint8_t *p, uint32_t bytes)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < bytes; i++) {
        value |= (uint64_t)p[i] << (8 * i);
    }
    return value;
}

bool image_parse(const uint8_t header[IMAGE_HEADER_BYTES], struct image_header *image)
{
    image->text_offset = little(header + 8, 8);
    image->image_size = little(header + 16, 8);
    image->flags = little(header + 24, 8);
    return little(header + 56, 4) == MAGIC && image->image_size != 0 && !(image->flags & FLAG_BIG_ENDIAN);
}

static bool inside(uint64_t start, uint64_t size, uint64_t base, uint64_t length)
{
    return start >= base && size <= length && start - base <= length - size;
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a_size != 0 && b_size != 0 && (a < b ? b - a < a_size : a - b < b_size);
}

enum layout_fault layout_check(const struct guest_layout *l, const struct image_header *image,
                               uint64_t *entry)
{
    if (image->image_size < l->kernel_file_size || image->text_offset >= MIB2) {
        return LAYOUT_KERNEL_HEADER;
    }
    uint64_t base = (l->ram_base + MIB2 - 1) & ~(MIB2 - 1);
    uint64_t kernel = base + image->text_offset;
    if (base < l->ram_base || !inside(kernel, image->image_size, l->ram_base, l->ram_size)) {
        return LAYOUT_KERNEL_RAM;
    }
    if (!inside(l->dtb, l->dtb_size, l->ram_base, l->ram_size)) {
        return LAYOUT_DTB_RAM;
    }
    if (l->dtb % 8 != 0 || l->dtb_size > MIB2 || l->dtb_size == 0) {
        return LAYOUT_DTB_ALIGN;
    }
    if (!inside(l->initrd, l->initrd_size, l->ram_base, l->ram_size) && l->initrd_size != 0) {
        return LAYOUT_INITRD_RAM;
    }
    if (overlap(kernel, image->image_size, l->dtb, l->dtb_size)) {
        return LAYOUT_DTB_OVERLAP;
    }
    if (overlap(kernel, image->image_size, l->initrd, l->initrd_size) ||
        overlap(l->dtb, l->dtb_size, l->initrd, l->initrd_size)) {
        return LAYOUT_INITRD_OVERLAP;
    }
    *entry = kernel;
    return LAYOUT_OK;
}

const char *layout_fault_text(enum layout_fault fault)
{
    static const char *const text[] = {
        [LAYOUT_OK] = "well placed",
        [LAYOUT_KERNEL_HEADER] = "the kernel's header contradicts its size",
        [LAYOUT_KERNEL_RAM] = "the kernel does not fit the guest's RAM",
        [LAYOUT_DTB_RAM] = "the device tree lies outside the guest's RAM",
        [LAYOUT_DTB_ALIGN] = "the device tree is empty, misaligned or above 2 MiB",
        [LAYOUT_INITRD_RAM] = "the initial RAM disk lies outside the guest's RAM",
        [LAYOUT_DTB_OVERLAP] = "the device tree overlaps the kernel",
        [LAYOUT_INITRD_OVERLAP] = "the initial RAM disk overlaps the kernel or the device tree",
    };
    return text[fault];
}
