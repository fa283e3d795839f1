/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Calls to the timer. Each client has one deadline; the timer notifies it on the same channel once the
 * counter has reached it. Time is the system counter (CNTPCT_EL0). A call to a timer that has failed never
 * returns; one that works answers a notification by a notification.
 */

#include <stdint.h>

/* Label; message register 0: the deadline, replaces the one before. Of the answer: how often the ticker has
 * ticked. */
#define TIMER_SET 1u
#define TIMER_NEVER UINT64_MAX

static inline uint64_t timer_now(void)
{
    uint64_t now;
    __asm__ volatile("isb\nmrs %0, cntpct_el0" : "=r"(now));
    return now;
}

/* Ticks a second. */
static inline uint64_t timer_frequency(void)
{
    uint64_t frequency;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
    return frequency;
}
