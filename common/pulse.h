/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A question and its answer in shared memory: whether the other side still works. The console asks its VMMs,
 * with the notification that it sends them for input; a VMM answers whenever it is notified. */

#include "freestanding.h"

struct pulse {
    uint32_t asked;
    uint8_t line0[60];
    uint32_t answered;
    uint8_t line1[60];
};

static inline void pulse_ask(struct pulse *pulse)
{
    __atomic_store_n(&pulse->asked, pulse->answered + 1, __ATOMIC_RELEASE);
}

static inline void pulse_answer(struct pulse *pulse)
{
    __atomic_store_n(&pulse->answered, __atomic_load_n(&pulse->asked, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
}

static inline bool pulse_is_answered(const struct pulse *pulse)
{
    return __atomic_load_n(&pulse->answered, __ATOMIC_ACQUIRE) == pulse->asked;
}
