/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the timer is told; the build generates `const struct timer_config timer_config`. */

#include <stdint.h>

#define TIMER_NO_TICKS 0xffu

struct timer_config {
    void *registers; /* of the device; NULL where it has none */
    uint8_t irq_channel;
    uint8_t tick_channel; /* from the ticker, where guests reach the alarm; else TIMER_NO_TICKS */
    uint64_t clients;     /* channels (bit set) that may set a deadline */
};

extern const struct timer_config timer_config;
