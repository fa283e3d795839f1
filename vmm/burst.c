/* SPDX-License-Identifier: BSD-2-Clause */
#include "burst.h"

#include "freestanding.h"

void burst_init(struct burst *burst, uint64_t window, uint64_t share, uint64_t limit, uint32_t part)
{
    *burst = (struct burst){.window = window, .share = share, .since = BURST_ASLEEP};
    account_init(&burst->account, limit, part);
}

void burst_grant(struct burst *burst, uint32_t sent, uint64_t now)
{
    bool moved = sent != burst->sent;
    burst->sent = sent;
    if (moved && account_left(&burst->account, now) >= burst->share) {
        burst->until = now + burst->window;
        burst->left = burst->share;
    }
}

uint64_t burst_settle(struct burst *burst, bool runs, uint64_t now)
{
    if (burst->first && burst->since != BURST_ASLEEP) {
        account_charge(&burst->account, burst->since, now);
        burst->left -= min_u64(burst->left, now - burst->since);
    }
    uint64_t left = min_u64(burst->left, account_left(&burst->account, now));
    burst->first = left > 0 && now < burst->until;
    burst->until = burst->first ? burst->until : 0;
    burst->since = runs ? now : BURST_ASLEEP;
    return burst->first && runs ? min_u64(burst->until, now + left) : BURST_NEVER;
}
