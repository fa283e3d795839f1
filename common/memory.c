/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * memcpy and memset for protection domains. Frames of up to 64 KiB and kernels of 30 MB pass through
 * memcpy, so whole 64-byte lines go by load and store pairs: under an emulator the number of
 * instructions is what counts, on a Cortex-A53 the pairs fill the bus.
 */

#include "freestanding.h"

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    while (n >= 64) {
        __asm__ volatile("ldp x4, x5, [%1], #16\n"
                         "ldp x6, x7, [%1], #16\n"
                         "ldp x8, x9, [%1], #16\n"
                         "ldp x10, x11, [%1], #16\n"
                         "stp x4, x5, [%0], #16\n"
                         "stp x6, x7, [%0], #16\n"
                         "stp x8, x9, [%0], #16\n"
                         "stp x10, x11, [%0], #16\n"
                         : "+r"(d), "+r"(s)
                         :
                         : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "memory");
        n -= 64;
    }
    while (n >= 8) {
        uint64_t word;
        __asm__ volatile("ldr %2, [%1], #8\n"
                         "str %2, [%0], #8\n"
                         : "+r"(d), "+r"(s), "=&r"(word)
                         :
                         : "memory");
        n -= 8;
    }
    while (n > 0) {
        *d++ = *s++;
        /* Keeps the compiler from recognising this loop as memcpy and calling itself. */
        __asm__ volatile("" ::: "memory");
        n--;
    }
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    uint8_t *d = to;
    uint64_t word = 0x0101010101010101ULL * (uint8_t)byte;
    while (n >= 16) {
        __asm__ volatile("stp %1, %1, [%0], #16\n" : "+r"(d) : "r"(word) : "memory");
        n -= 16;
    }
    while (n > 0) {
        *d++ = (uint8_t)byte;
        __asm__ volatile("" ::: "memory");
        n--;
    }
    return to;
}
