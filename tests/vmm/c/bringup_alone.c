/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * drivers/bringup.c on this computer, with a timer and a serial port that are played here: prints what it
 * sends. Arguments: the counter's frequency, and how often the timer notifies it.
 */

#include <stdio.h>
#include <stdlib.h>

#define timer_now counter_of_hardware
#define timer_frequency frequency_of_hardware
#include "timer.h"
#undef timer_now
#undef timer_frequency

#define IRQ 1
#define TIMER 2

static unsigned int typed = 1; /* bytes that are still to be read */
static uint64_t moment = 1;
static uint64_t hertz;
static uint64_t calls; /* of the timer */
static uint64_t asked; /* the deadline of the last */

static uint64_t timer_now(void)
{
    return moment;
}

static uint64_t timer_frequency(void)
{
    return hertz;
}

#include "bringup.c"

const struct bringup_config bringup_config = {.irq_channel = IRQ, .timer_channel = TIMER};

void uart_start(void *registers)
{
    (void)registers;
}

bool uart_put(uint8_t byte)
{
    putchar(byte);
    return true;
}

int uart_get(void)
{
    return typed != 0 ? (int)typed-- : -1;
}

void uart_await_input(bool wanted)
{
    (void)wanted;
}

void uart_await_room(bool wanted)
{
    (void)wanted;
}

void uart_interrupted(void)
{
}

void microkit_irq_ack(microkit_channel channel)
{
    (void)channel;
}

void microkit_notify(microkit_channel channel)
{
    (void)channel;
}

microkit_msginfo microkit_msginfo_new(seL4_Word label, uint16_t count)
{
    return (microkit_msginfo){{label << 12 | count}};
}

void microkit_mr_set(uint8_t mr, seL4_Word value)
{
    (void)mr;
    asked = value;
}

microkit_msginfo microkit_ppcall(microkit_channel channel, microkit_msginfo msginfo)
{
    (void)channel;
    calls++;
    return msginfo;
}

int main(int count, char **words)
{
    if (count != 3) {
        return 2;
    }
    hertz = strtoull(words[1], NULL, 10);
    init();
    for (unsigned long left = strtoul(words[2], NULL, 10); left != 0; left--) {
        notified(TIMER);
        moment = asked > moment ? asked : moment;
    }
    printf("\ncalls of the timer: %llu\n", (unsigned long long)calls);
    return 0;
}
