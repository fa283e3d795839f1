/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The switch's counters in a memory region of their own, which the switch writes and the console reads. The
 * switch copies them there when the console asks whether it still works, and then answers: a frame costs
 * nothing more, and what the console reads after an answer is newer than its question.
 *
 * The sequence is odd while the switch writes. A reader that finds it odd or changed has read nothing.
 */

#include "freestanding.h"

#define TALLY_PORTS 31u  /* as many guests as the serial line has keys for, and more */
#define TALLY_VALUES 48u /* of one port */

/* Places of the values of a port; received, delivered and dropped as in vswitch.h and vsock.h. */
enum tally_value {
    TALLY_RX_FRAMES,
    TALLY_RX_BYTES,
    TALLY_TX_FRAMES,
    TALLY_TX_BYTES,
    TALLY_CONNECTED, /* 1: frames may be delivered to it */
    TALLY_OPEN,      /* vsock connections now */
    TALLY_BREACHES,  /* entries of its rings that its VMM may not have written */
    TALLY_DROPS,     /* the first of the drops by reason */
};

enum tally_kind { TALLY_NOTHING, TALLY_FRAMES, TALLY_PACKETS };

struct tally {
    uint32_t sequence;
    uint32_t kind;   /* enum tally_kind; NOTHING until the counters were published once */
    uint32_t values; /* that each port has */
    uint8_t line[52];
    uint64_t value[TALLY_PORTS][TALLY_VALUES];
};

/* The writer's copies of all ports come between these two. */
static inline void tally_begin(struct tally *tally)
{
    __atomic_store_n(&tally->sequence, tally->sequence + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void tally_end(struct tally *tally)
{
    __atomic_store_n(&tally->sequence, tally->sequence + 1, __ATOMIC_RELEASE);
}

static inline void tally_put(struct tally *tally, uint32_t port, uint32_t place, uint64_t value)
{
    __atomic_store_n(&tally->value[port][place], value, __ATOMIC_RELAXED);
}

/* Copies a port's values. False, and nothing is to be used, when the switch was writing. */
static inline bool tally_read(const struct tally *tally, uint32_t port, uint32_t *kind, uint32_t *values,
                              uint64_t value[TALLY_VALUES])
{
    uint32_t before = __atomic_load_n(&tally->sequence, __ATOMIC_ACQUIRE);
    *kind = __atomic_load_n(&tally->kind, __ATOMIC_RELAXED);
    *values = (uint32_t)min_u64(__atomic_load_n(&tally->values, __ATOMIC_RELAXED), TALLY_VALUES);
    for (uint32_t i = 0; i < *values; i++) {
        value[i] = __atomic_load_n(&tally->value[port][i], __ATOMIC_RELAXED);
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return (before & 1) == 0 && before == __atomic_load_n(&tally->sequence, __ATOMIC_RELAXED);
}

/* SWITCH_COUNTERS of router/plan/domains.py. */
_Static_assert(sizeof(struct tally) <= 0x3000, "the counters fit their region");
