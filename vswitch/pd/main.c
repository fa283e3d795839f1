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
        /* Before the next pass: senders on other cores may always have more. */
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
    if (channel == vswitch_watch) {
        microkit_notify(channel); /* the console asks whether we still work */
    } else if (ready) {           /* every pass looks at all ports */
        run();
    }
}
