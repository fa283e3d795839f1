/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Notices that a protection domain does not answer. Portable: times and answers in, questions and news out.
 *
 * Release kernels and Microkit's monitor print nothing when a protection domain faults. So the console asks
 * every domain each WATCH_PERIOD seconds, and says so when one has not answered so many times in a row: with
 * WATCH_BEATS 10 to 12 seconds after its end. Beats are counted, not seconds: a machine that stands still for
 * a while makes nobody late.
 */

#include "freestanding.h"

#define WATCH_MAX 64u
#define WATCH_PERIOD 2u /* seconds */
#define WATCH_BEATS 5u
#define WATCH_BEATS_ABOVE 2u /* of a domain that runs before the console, and so answers at once */
#define WATCH_NEVER UINT64_MAX

struct watched {
    const char *name;
    uint32_t beats;      /* without an answer, after which it is late */
    uint32_t unanswered; /* beats since the question */
    bool asked;
    bool late;
    bool news;
};

struct watch {
    uint64_t period; /* counter ticks */
    uint64_t next;   /* when they are asked again */
    uint32_t count;
    struct watched one[WATCH_MAX];
};

/* second: counter ticks in a second. */
void watch_init(struct watch *watch, uint64_t now, uint64_t second);

/* Adds a protection domain; its number is that of calls before. The name is kept by reference. */
void watch_add(struct watch *watch, const char *name, uint32_t beats);

/* Whether it is time to ask. If so, call watch_answered for all whose answer is known otherwise, then
 * watch_ask. */
bool watch_is_due(const struct watch *watch, uint64_t now);

/* Who has to be asked now (bit set). */
uint64_t watch_ask(struct watch *watch, uint64_t now);

void watch_answered(struct watch *watch, uint32_t index);

/* Who has become late, or has answered late, since it was last given; NULL: nobody. */
const struct watched *watch_news(struct watch *watch);
