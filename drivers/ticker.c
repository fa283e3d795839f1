/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A clock that no guest reaches: this domain has a short budget in each period, gives the rest of it away,
 * and so is woken by the kernel's own timer once a period. It tells the timer, which then looks after its
 * alarm.
 */

#include "ticker.h"

#include <microkit.h>

void init(void)
{
    for (;;) {
        seL4_Yield();
        microkit_notify(ticker_channel);
    }
}

void notified(microkit_channel channel)
{
    (void)channel; /* it has none to be notified on, and never gets here */
}
