/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What protection domains use instead of a C library. The host has the same functions in its own; the
 * declarations agree, so a core that includes this compiles for both.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int byte, size_t n);

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
