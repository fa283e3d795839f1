/* SPDX-License-Identifier: BSD-2-Clause */

/* The switch as a protection domain. */

#include <microkit.h>

#include "config.h"
#include "counts.h"
#include "publish.h"
#include "timer.h"

static struct forward forward;
static bool ready;
static bool asked;                   /* whether the processor is idle */
static uint64_t armed = TIMER_NEVER; /* the deadline that the timer knows */

/* As in the VMM: a deadline that has passed without a notification is armed again. */
static void arm(uint64_t deadline)
{
    if (deadline < armed || armed <= timer_now()) {
        armed = min_u64(deadline, armed);
        if (armed != TIMER_NEVER) {
            count(COUNTS_TIMER_CALLS);
            microkit_mr_set(0, armed);
            microkit_ppcall(vswitch_timer_channel, microkit_msginfo_new(TIMER_SET, 1));
        }
    }
}

static void run(void)
{
    bool again;
    do {
        uint64_t wake, start = timer_now();
        again = forward_pass(&forward, start, &wake);
        forward_took(&forward, timer_now() - start);
        /* Before the next pass: senders on other cores may always have more. */
        count_many(COUNTS_FRAMES_OUT, forward.judged - forward.dropped);
        for (; wake != 0; wake &= wake - 1) {
            count(COUNTS_TO_PEERS);
            microkit_notify(vswitch_ports[(uint32_t)__builtin_ctzll(wake)].channel);
        }
    } while (again);
    if (vswitch_idle != VSWITCH_NO_IDLE && !asked && forward_owes(&forward)) {
        asked = true;
        microkit_notify(vswitch_idle);
    }
    arm(forward_deadline(&forward));
}

void init(void)
{
    counts_init(microkit_name, timer_frequency(), timer_now());
    const char *fault = vswitch_vsock != NULL
                            ? forward_init_vsock(&forward, vswitch_vsock, vswitch_vsock_state, vswitch_ports,
                                                 timer_frequency())
                            : forward_init(&forward, vswitch_config, vswitch_ports, timer_frequency());
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
        count(COUNTS_BY_CONSOLE);
        if (ready) {
            publish(&forward, vswitch_tally);
        }
        microkit_notify(channel); /* the console asks whether we still work, and may want the counters */
        return;
    }
    if (channel == vswitch_timer_channel) {
        count(COUNTS_BY_TIMER);
        armed = TIMER_NEVER;
    } else {
        count(COUNTS_BY_PORT);
    }
    if (channel == vswitch_idle) {
        asked = false;
        forward_idle(&forward, timer_now());
    }
    if (ready) {
        run(); /* every pass looks at all ports */
    }
}
