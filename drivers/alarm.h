/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A device that interrupts at a counter value. One of alarm_arm.c and alarm_gpt.c is linked. */

#include <stdbool.h>
#include <stdint.h>

void alarm_start(void *registers);

/* Interrupts once the system counter has reached the deadline, or earlier; TIMER_NEVER: does not. */
void alarm_set(uint64_t deadline);

/* Whether the device still holds what was last set: others may reach it. */
bool alarm_is_set(void);

/* Takes the interrupt back, so that its line falls. */
void alarm_clear(void);
