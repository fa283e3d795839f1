/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The console's configuration; the build generates `const struct console_config console_config`. */

#include "charq.h"

struct console_port {
    const char *name;
    bool programs;   /* a control channel: no prompts, whole lines only */
    uint8_t channel; /* to the VMM */
    struct charq_port *ring;
};

struct console_config {
    void *uart;            /* the device's registers, mapped uncached */
    uint8_t irq_channel;   /* its interrupt */
    uint8_t timer_channel; /* protected calls to the timer */
    uint32_t ports;
    const struct console_port *port; /* the first has the keyboard at the start */
};

extern const struct console_config console_config;
