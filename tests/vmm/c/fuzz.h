/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the fuzzers share: an input that is a program of small steps, and a condition that must hold.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* The next bytes of the input as a number, lowest byte first; 0 where it has ended. */
static inline uint64_t take(const uint8_t **data, size_t *left, uint32_t bytes)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i<bytes && * left> 0; i++, (*left)--) {
        value |= (uint64_t) * (*data)++ << (8 * i);
    }
    return value;
}

static inline void require(int holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left);

#endif
