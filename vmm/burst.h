/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Which of two priorities a guest's vCPUs have. Portable: times in, a decision out.
 *
 * A guest that was just sent something on its control channel runs before the others for a moment, so that it
 * answers as soon as with idle neighbours. Guests cannot bring this about: what arrives there comes from the
 * serial line. An account bounds the time. What wakes a guest otherwise changes nothing: two guests that
 * exchange frames are faster where neither interrupts the other.
 */

#include "account.h"

#include <stdbool.h>

struct burst {
    struct account account; /* time at the upper priority */
    uint64_t window;        /* ticks that one grant lasts at most */
    uint64_t share;         /* of these, how many the guest may run */
    uint64_t left;          /* of the share */
    uint64_t until;         /* it is granted; 0: it is not */
    uint32_t sent;          /* index of the input that the last grant was for */
    uint64_t since;         /* when the guest began to run, or was last charged; BURST_ASLEEP: it sleeps */
    bool first;             /* it has the upper priority */
};

#define BURST_ASLEEP UINT64_MAX
#define BURST_NEVER UINT64_MAX

/* window: ticks that one grant lasts at most. share: of these, how many the guest may run. limit: ticks that
 * several in a row give. part: in the long run, one tick in so many. */
void burst_init(struct burst *burst, uint64_t window, uint64_t share, uint64_t limit, uint32_t part);

/* To be called when the guest may have been sent something. sent: the index of what was written for it so
 * far; it is granted time if that has moved. When it reads that is its own choice, and changes nothing.
 * Nothing is granted while the account has not a share left. */
void burst_grant(struct burst *burst, uint32_t sent, uint64_t now);

/* To be called whenever the guest may have begun or ended to run, and after a grant. runs: one of its vCPUs
 * does. Sets `first`; returns when it may have to change, or BURST_NEVER. */
uint64_t burst_settle(struct burst *burst, bool runs, uint64_t now);
