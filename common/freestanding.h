/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What protection domains use instead of a C library. The host has the same functions in its own; the
 * declarations agree, so a core that includes this compiles for both.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For a large variable on a hot path that is written before it is read: the build zeroes all others. */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define UNINITIALIZED __attribute__((uninitialized))
#endif
#endif
#ifndef UNINITIALIZED
#define UNINITIALIZED
#endif

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int byte, size_t n);

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
