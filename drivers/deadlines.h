/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The deadlines of the timer's clients, one each. Portable: the alarm and the clock are the caller's.
 *
 * Where guests reach the alarm's registers (see alarm_arm.c) they can let it interrupt without end.
 * Interrupts for which nobody was due are few in peace: more than DEADLINES_IDLE from one tick to the next
 * are not answered at once, so that the device cannot interrupt again before the tick.
 */

#include "freestanding.h"

#define DEADLINES_CLIENTS 62u
#define DEADLINES_IDLE 8u

struct deadlines {
    uint64_t clients;               /* who may have one (bit set) */
    uint64_t at[DEADLINES_CLIENTS]; /* TIMER_NEVER: none */
    uint32_t idle;                  /* interrupts since the last tick for which nobody was due */
};

void deadlines_init(struct deadlines *d, uint64_t clients);

/* Replaces a client's deadline; of others, nothing is kept. */
void deadlines_set(struct deadlines *d, uint32_t client, uint64_t deadline);

/* Who is due (bit set), and forgets these deadlines. `next`: the earliest of those that are left. */
uint64_t deadlines_due(struct deadlines *d, uint64_t now, uint64_t *next);

/* After an interrupt: whether it may be acknowledged now. */
bool deadlines_answer(struct deadlines *d, bool anybody_due);
void deadlines_tick(struct deadlines *d);
