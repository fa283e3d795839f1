/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Restart delay of a guest. A guest that ran for a minute restarts at once. Otherwise the delay is 1 s and
 * doubles each time, up to a minute, so that a guest that crashes at boot does not slow the others down.
 */

#include <stdint.h>

#define BACKOFF_MAX_S 60u /* seconds: the longest delay, and the run time that resets it */

struct backoff {
    uint32_t delay; /* seconds of the last delay; 0: none */
};

/* The guest ended after `life` seconds. Returns the seconds until its restart. */
uint32_t backoff_ended(struct backoff *backoff, uint64_t life);
