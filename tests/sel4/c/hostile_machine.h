/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The machine as hostile.c sees it: places, registers, time, chance, the early console. The addresses come
 * from the plan, as macros.
 */
#ifndef HOSTILE_MACHINE_H
#define HOSTILE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Queues and buffers of the good driver. */
#define RINGS (RAM_BASE + RAM_SIZE / 2 + 0x10000)
#define BUFFERS (RAM_BASE + RAM_SIZE / 2 + 0x20000)
/* Where the attacks put theirs; garbage may be written around it, and above the images only. */
#define PLAYGROUND (RAM_BASE + RAM_SIZE / 2 + 0x100000)
#define PLAYGROUND_BYTES 0x40000u

static uint64_t random_state;

static inline void say(const char *text)
{
    for (; *text != 0; text++) {
        *(volatile uint32_t *)UART = (uint8_t)*text;
    }
}

static inline void say_number(const char *before, uint64_t value, const char *after)
{
    char digits[21];
    uint32_t at = sizeof(digits) - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    say(before);
    say(digits + at);
    say(after);
}

/* xorshift64* (Vigna 2016) */
static inline uint64_t any(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1dULL;
}

static inline uint32_t below(uint32_t limit)
{
    return (uint32_t)((any() >> 33) % limit);
}

static inline uint64_t now(void)
{
    uint64_t value;
    __asm__ volatile("isb\nmrs %0, cntvct_el0" : "=r"(value));
    return value;
}

static inline uint64_t hertz(void)
{
    uint64_t value;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
    return value;
}

/* Values that break things more often than others do. */
static inline uint64_t awkward(void)
{
    static const uint32_t some[] = {0,          1,      2,      0x7fffffff, 0x80000000,
                                    0xffffffff, 0xffff, 0x8000, 0x10000000, 0xfffffff0,
                                    256,        257,    255,    64};
    uint32_t pick = below(20);
    return pick < 14 ? some[pick] : pick < 17 ? any() : any() & 0xff;
}

static inline void poke(uint64_t address, uint32_t width, uint64_t value)
{
    switch (width) {
    case 1:
        *(volatile uint8_t *)address = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)address = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)address = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)address = value;
        break;
    }
}

static inline uint64_t peek(uint64_t address, uint32_t width)
{
    switch (width) {
    case 1:
        return *(volatile uint8_t *)address;
    case 2:
        return *(volatile uint16_t *)address;
    case 4:
        return *(volatile uint32_t *)address;
    default:
        return *(volatile uint64_t *)address;
    }
}

static inline void set(uint64_t device, uint32_t reg, uint32_t value)
{
    *(volatile uint32_t *)(device + reg) = value;
}

static inline uint32_t get(uint64_t device, uint32_t reg)
{
    return *(volatile uint32_t *)(device + reg);
}

struct descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};

#endif
