/* SPDX-License-Identifier: BSD-2-Clause */
#include "backoff.h"

#include "mem.h"

uint32_t backoff_ended(struct backoff *backoff, uint64_t life)
{
    if (life >= BACKOFF_MAX_S) {
        backoff->delay = 0;
    } else if (backoff->delay == 0) {
        backoff->delay = 1;
    } else {
        backoff->delay = (uint32_t)min_u64(2ULL * backoff->delay, BACKOFF_MAX_S);
    }
    return backoff->delay;
}
