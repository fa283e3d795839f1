/* SPDX-License-Identifier: BSD-2-Clause */

/* The timer as a protection domain: one alarm for the deadlines of all clients. See timer.h for the protocol.
 */

#include "timer_pd.h"

#include <microkit.h>

#include "alarm.h"
#include "timer.h"

static uint64_t deadline[MICROKIT_MAX_CHANNELS];

/* Notifies who is due and sets the alarm to the next deadline. */
static void run(void)
{
    uint64_t next = TIMER_NEVER;
    uint64_t now = timer_now();
    for (uint32_t i = 0; i < MICROKIT_MAX_CHANNELS; i++) {
        if (!((timer_config.clients >> i) & 1)) {
            continue;
        }
        if (deadline[i] <= now) {
            deadline[i] = TIMER_NEVER;
            microkit_notify(i);
        } else if (deadline[i] < next) {
            next = deadline[i];
        }
    }
    alarm_set(next);
}

void init(void)
{
    for (uint32_t i = 0; i < MICROKIT_MAX_CHANNELS; i++) {
        deadline[i] = TIMER_NEVER;
    }
    alarm_start(timer_config.registers);
    microkit_irq_ack(timer_config.irq_channel);
}

void notified(microkit_channel channel)
{
    if (channel == timer_config.irq_channel) {
        alarm_clear();
        run();
        microkit_irq_ack(channel);
    }
}

microkit_msginfo protected(microkit_channel channel, microkit_msginfo msginfo)
{
    if (microkit_msginfo_get_label(msginfo) == TIMER_SET && microkit_msginfo_get_count(msginfo) == 1 &&
        channel < MICROKIT_MAX_CHANNELS) {
        deadline[channel] = microkit_mr_get(0);
        run();
    }
    return microkit_msginfo_new(0, 0);
}
