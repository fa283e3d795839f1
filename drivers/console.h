/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* The console's configuration; the build generates `const struct console_config console_config`. */

#include "charq.h"
#include "tally.h"

struct console_port {
    const char *name;
    bool programs;   /* a control channel: no prompts, whole lines only */
    uint8_t channel; /* to the VMM */
    struct charq_port *ring;
};

/* A protection domain that the console asks whether it still works. */
struct console_watched {
    const char *name;
    uint8_t channel;     /* it is notified */
    struct pulse *pulse; /* where it answers; NULL: by a notification */
};

struct console_config {
    void *uart;            /* the device's registers, mapped uncached */
    uint8_t irq_channel;   /* its interrupt */
    uint8_t timer_channel; /* protected calls to the timer */
    uint32_t ports;
    const struct console_port *port; /* the first has the keyboard at the start */
    uint32_t watched;
    const struct console_watched *watch;
    uint8_t switch_channel;    /* it is notified, publishes its counters, and notifies back */
    const struct tally *tally; /* the counters, read-only */
    uint32_t counted;          /* ports of the switch */
    const char *timer;         /* its name; it is notified, and notifies back */
    const char *ticker;        /* its name; the timer counts its ticks; NULL: there is none */
};

extern const struct console_config console_config;
