/* SPDX-License-Identifier: BSD-2-Clause */

/* The timer as a protection domain: one alarm for the deadlines of all clients. See timer.h for the protocol.
 */

#include "timer_pd.h"

#include <microkit.h>

#include "alarm.h"
#include "counts.h"
#include "deadlines.h"
#include "timer.h"

static struct deadlines deadlines;
static uint64_t ticks;
static bool held; /* the interrupt waits for the next tick to be acknowledged */

/* Notifies who is due and sets the alarm to the next deadline. False: nobody is. */
static bool run(void)
{
    uint64_t next;
    uint64_t due = deadlines_due(&deadlines, timer_now(), &next);
    for (uint64_t rest = due; rest != 0; rest &= rest - 1) {
        count(COUNTS_TO_PEERS);
        microkit_notify((microkit_channel)__builtin_ctzll(rest));
    }
    alarm_set(next);
    return due != 0;
}

void init(void)
{
    counts_init(microkit_name, timer_frequency(), timer_now());
    deadlines_init(&deadlines, timer_config.clients);
    alarm_start(timer_config.registers);
    microkit_irq_ack(timer_config.irq_channel);
}

void notified(microkit_channel channel)
{
    if (channel == timer_config.irq_channel) {
        count(COUNTS_BY_TIMER);
        alarm_clear();
        held = !deadlines_answer(&deadlines, run()) && timer_config.tick_channel != TIMER_NO_TICKS;
        if (!held) {
            microkit_irq_ack(channel);
        }
    } else if (channel == timer_config.tick_channel) {
        count(COUNTS_BY_TICKER);
        deadlines_tick(&deadlines);
        ticks++;
        if (held || !alarm_is_set()) {
            run();
        }
        if (held) {
            held = false;
            microkit_irq_ack(timer_config.irq_channel);
        }
    } else {
        count(COUNTS_BY_PORT);
        microkit_notify(channel); /* a client asks whether it will be answered before it makes a call */
    }
}

microkit_msginfo protected(microkit_channel channel, microkit_msginfo msginfo)
{
    count(COUNTS_TIMER_CALLS);
    if (microkit_msginfo_get_label(msginfo) == TIMER_SET && microkit_msginfo_get_count(msginfo) == 1) {
        deadlines_set(&deadlines, channel, microkit_mr_get(0));
        run();
    }
    microkit_mr_set(0, ticks);
    return microkit_msginfo_new(0, 1);
}
