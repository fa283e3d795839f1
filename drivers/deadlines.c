/* SPDX-License-Identifier: BSD-2-Clause */
#include "deadlines.h"

#define NEVER UINT64_MAX

void deadlines_init(struct deadlines *d, uint64_t clients)
{
    *d = (struct deadlines){.clients = clients};
    for (uint32_t i = 0; i < DEADLINES_CLIENTS; i++) {
        d->at[i] = NEVER;
    }
}

void deadlines_set(struct deadlines *d, uint32_t client, uint64_t deadline)
{
    if (client < DEADLINES_CLIENTS && ((d->clients >> client) & 1)) {
        d->at[client] = deadline;
    }
}

uint64_t deadlines_due(struct deadlines *d, uint64_t now, uint64_t *next)
{
    uint64_t due = 0;
    *next = NEVER;
    for (uint32_t i = 0; i < DEADLINES_CLIENTS; i++) {
        if (d->at[i] <= now) {
            d->at[i] = NEVER;
            due |= 1ULL << i;
        }
        *next = min_u64(*next, d->at[i]);
    }
    return due;
}

bool deadlines_answer(struct deadlines *d, bool anybody_due)
{
    d->idle += anybody_due || d->idle > DEADLINES_IDLE ? 0 : 1;
    return d->idle <= DEADLINES_IDLE;
}

void deadlines_tick(struct deadlines *d)
{
    d->idle = 0;
}
