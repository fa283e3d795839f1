/* SPDX-License-Identifier: BSD-2-Clause */

/* The switch as a protection domain. */

#include <microkit.h>

#include "config.h"

static struct forward forward;
static bool ready;

static void run(void)
{
    bool again;
    do {
        uint64_t wake;
        again = forward_pass(&forward, &wake);
        /* At once: with senders on other cores there may always be more to do. */
        for (; wake != 0; wake &= wake - 1) {
            microkit_notify(vswitch_ports[(uint32_t)__builtin_ctzll(wake)].channel);
        }
    } while (again);
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
