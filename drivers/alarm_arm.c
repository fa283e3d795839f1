/* SPDX-License-Identifier: BSD-2-Clause */

/* The EL1 physical timer of the generic timer (ARM DDI 0487, D13.8), on boards whose kernel leaves it to user
 * level. */

#include "alarm.h"

#include "timer.h"

enum { ENABLE = 1, MASK = 2 };

static void control(uint64_t value)
{
    __asm__ volatile("msr cntp_ctl_el0, %0\nisb" ::"r"(value));
}

void alarm_start(void *registers)
{
    (void)registers; /* system registers only */
    control(MASK);
}

void alarm_set(uint64_t deadline)
{
    if (deadline == TIMER_NEVER) {
        control(MASK);
    } else {
        __asm__ volatile("msr cntp_cval_el0, %0" ::"r"(deadline));
        control(ENABLE);
    }
}

void alarm_clear(void)
{
    control(MASK);
}
