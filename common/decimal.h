/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

#include <stdint.h>

#define DECIMAL_DIGITS 20u /* of the largest number */

/* Writes a number in decimal digits, without an end, and returns how many there are. */
static inline uint32_t decimal(uint64_t value, char out[DECIMAL_DIGITS])
{
    char digits[DECIMAL_DIGITS];
    uint32_t n = 0;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = digits[n - 1 - i];
    }
    return n;
}
