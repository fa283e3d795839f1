/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The EL1 physical timer of the generic timer (ARM DDI 0487, D13.8), on boards whose kernel leaves it to user
 * level. Such a kernel (KernelArmExportPTMRUser) also leaves it to all guests' kernels: it sets
 * CNTHCTL_EL2.EL1PCEN for good. A guest can so stop the alarm, or let it interrupt without end; the ticker
 * and deadlines.c are against that.
 */

#include "alarm.h"

#include "timer.h"

enum { ENABLE = 1, MASK = 2 };

static uint64_t set_to = TIMER_NEVER;

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
    set_to = deadline;
    if (deadline == TIMER_NEVER) {
        control(MASK);
    } else {
        __asm__ volatile("msr cntp_cval_el0, %0" ::"r"(deadline));
        control(ENABLE);
    }
}

bool alarm_is_set(void)
{
    uint64_t is, at;
    __asm__ volatile("mrs %0, cntp_ctl_el0\nmrs %1, cntp_cval_el0" : "=r"(is), "=r"(at));
    is &= ENABLE | MASK;
    return set_to == TIMER_NEVER ? is == MASK : is == ENABLE && at == set_to;
}

void alarm_clear(void)
{
    control(MASK);
}
