/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Guest memory as the cores see it: one contiguous block of guest-physical addresses and the place
 * where this protection domain has it mapped. Every address that comes from a guest goes through
 * ram_at(); nothing else turns a guest address into a pointer.
 */

#include "freestanding.h"

struct guest_ram {
    uint64_t base; /* guest-physical address of the first byte */
    uint64_t size; /* bytes */
    uint8_t *host; /* where the same byte is mapped here */
};

/* The bytes [gpa, gpa + len) of a guest, or NULL when any of them lies outside its RAM. */
static inline void *ram_at(const struct guest_ram *ram, uint64_t gpa, uint64_t len)
{
    if (gpa < ram->base || len > ram->size || gpa - ram->base > ram->size - len) {
        return NULL;
    }
    return ram->host + (gpa - ram->base);
}
