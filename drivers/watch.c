/* SPDX-License-Identifier: BSD-2-Clause */
#include "watch.h"

void watch_init(struct watch *watch, uint64_t now, uint64_t second)
{
    memset(watch, 0, sizeof(*watch));
    watch->period = WATCH_PERIOD * second;
    watch->next = now + watch->period;
}

void watch_add(struct watch *watch, const char *name, uint32_t beats)
{
    if (watch->count < WATCH_MAX) {
        watch->one[watch->count++] = (struct watched){.name = name, .beats = beats};
    }
}

bool watch_is_due(const struct watch *watch, uint64_t now)
{
    return now >= watch->next;
}

uint64_t watch_ask(struct watch *watch, uint64_t now)
{
    uint64_t ask = 0;
    watch->next = now + watch->period;
    for (uint32_t i = 0; i < watch->count; i++) {
        struct watched *one = &watch->one[i];
        if (!one->asked) {
            one->asked = true;
            one->unanswered = 0;
            ask |= 1ULL << i;
        } else if (!one->late && ++one->unanswered == one->beats) {
            one->late = one->news = true;
        }
    }
    return ask;
}

void watch_answered(struct watch *watch, uint32_t index)
{
    struct watched *one = &watch->one[index];
    one->asked = false;
    one->news = one->late ? !one->news : one->news;
    one->late = false;
}

const struct watched *watch_news(struct watch *watch)
{
    for (uint32_t i = 0; i < watch->count; i++) {
        if (watch->one[i].news) {
            watch->one[i].news = false;
            return &watch->one[i];
        }
    }
    return NULL;
}
