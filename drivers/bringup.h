/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What a board's first steps are told; the build generates `const struct bringup_config bringup_config`. */

#include <stdint.h>

#define BRINGUP_NO_TIMER 0xffu

struct bringup_config {
    void *uart;            /* the device's registers, mapped uncached */
    uint8_t irq_channel;   /* its interrupt */
    uint8_t timer_channel; /* protected calls to the timer, or BRINGUP_NO_TIMER */
};

extern const struct bringup_config bringup_config;
