/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Runs when nothing else on this core does, at the lowest priority: it answers the switch's question whether
 * the processor is idle. An answer is all that it can give; it holds nothing else.
 */

#include "idle.h"

#include <microkit.h>

void init(void)
{
}

void notified(microkit_channel channel)
{
    (void)channel; /* there is one */
    microkit_notify(idle_channel);
}
