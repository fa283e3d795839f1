/* SPDX-License-Identifier: BSD-2-Clause */

/* The switch as a protection domain. */

#include <microkit.h>

#include "config.h"

static struct forward forward;
static bool ready;

static void run(void)
{
    uint64_t wake = forward_run(&forward);
    while (wake != 0) {
        uint32_t port = (uint32_t)__builtin_ctzll(wake);
        wake &= wake - 1;
        microkit_notify(vswitch_ports[port].channel);
    }
}

void init(void)
{
    const char *fault = forward_init(&forward, &vswitch_config, vswitch_ports);
    if (fault != NULL) {
        /* The plan's checks allow no such configuration; without a valid one nothing is forwarded. */
        microkit_dbg_puts("vswitch: ");
        microkit_dbg_puts(fault);
        microkit_dbg_puts("\n");
        return;
    }
    ready = true;
    run();
}

void notified(microkit_channel channel)
{
    (void)channel; /* all ports are looked at: a notification says only that somebody has something */
    if (ready) {
        run();
    }
}
