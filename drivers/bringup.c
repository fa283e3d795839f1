/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A board's first steps, in place of the console and without guests. It says that it runs, and what it has
 * heard since then: so the serial port works both ways, and its interrupt arrives. With a timer it has itself
 * woken ten times a second and says what came of that, so that someone with a clock can compare.
 *
 * Each line is a remark of the multiplexer's, as on the console's line.
 */

#include "bringup.h"

#include <microkit.h>

#include "decimal.h"
#include "mux.h"
#include "timer.h"
#include "uart.h"

#define TICKS 10u /* in a second, and from one line to the next */

static struct mux mux;
static int held_out = -1; /* a byte that the transmitter did not take */
static bool awaits_room;
static bool hello = true;   /* still to be said */
static bool timeless;       /* still to be said: the counter has no frequency */
static uint32_t heard;      /* bytes */
static uint32_t told;       /* of these */
static uint32_t ticks;      /* since the last line */
static uint64_t since_line; /* counter value when these began */
static uint64_t started;    /* counter value when the first began; 0: none has */
static uint64_t due;        /* of the next tick */
static char text[MUX_REMARK + 1];
static uint32_t length;

static void say(const char *words)
{
    while (*words != 0 && length < MUX_REMARK) {
        text[length++] = *words++;
    }
    text[length] = 0;
}

static void say_number(uint64_t value)
{
    char digits[DECIMAL_DIGITS + 1];
    digits[decimal(value, digits)] = 0;
    say(digits);
}

/* Counter ticks as seconds with one decimal, rounded. */
static void say_seconds(uint64_t span)
{
    uint64_t tenths = (span * 10 + timer_frequency() / 2) / timer_frequency();
    say_number(tenths / 10);
    say((const char[]){'.', (char)('0' + tenths % 10), 0});
}

static void say_ticks(uint64_t now)
{
    say("timer: ");
    say_number(ticks);
    say(" ticks in ");
    say_seconds(now - since_line);
    say(" s, ");
    say_seconds(now - started);
    say(" s since the first, counter of ");
    say_number(timer_frequency());
    say(" Hz");
    ticks = 0;
    since_line = now;
}

/* Hands the multiplexer the next line, if there is one and it has no other. */
static void next_line(void)
{
    if (mux.remark[0] != 0) {
        return;
    }
    length = 0;
    if (hello) {
        say("bring-up: the serial port is driven");
        hello = false;
    } else if (timeless) {
        say("bring-up: the counter has no frequency");
        timeless = false;
    } else if (told != heard) {
        say("bring-up: heard ");
        say_number(heard);
        say(" bytes");
        told = heard;
    } else if (ticks >= TICKS) {
        say("bring-up: ");
        say_ticks(timer_now());
    } else {
        return;
    }
    mux_remark(&mux, "", text, "");
}

static void pump(void)
{
    bool full = false;
    while (uart_get() >= 0) {
        heard++;
    }
    while (!full) {
        next_line();
        int byte = held_out >= 0 ? held_out : mux_next(&mux, timer_now());
        held_out = -1;
        if (byte < 0) {
            break;
        }
        if (!uart_put((uint8_t)byte)) {
            held_out = byte;
            full = true;
        }
    }
    if (awaits_room != full) {
        awaits_room = full;
        uart_await_room(full);
    }
}

/* The timer has notified us: of a tick, or because it works and was asked whether it does. */
static void tick(void)
{
    if (timer_frequency() == 0) {
        return; /* each tick would be due at once */
    }
    uint64_t now = timer_now();
    if (started == 0) {
        started = since_line = now;
    } else if (now >= due) {
        ticks++;
    } else {
        return;
    }
    due = now + timer_frequency() / TICKS;
    microkit_mr_set(0, due);
    microkit_ppcall(bringup_config.timer_channel, microkit_msginfo_new(TIMER_SET, 1));
}

void init(void)
{
    timeless = timer_frequency() == 0;
    mux_init(&mux, timer_frequency(), timer_frequency());
    uart_start(bringup_config.uart);
    uart_await_input(true);
    microkit_irq_ack(bringup_config.irq_channel);
    pump();
    if (bringup_config.timer_channel != BRINGUP_NO_TIMER && timer_frequency() != 0) {
        /* A call to a timer that has failed would never return; one that works answers this. */
        microkit_notify(bringup_config.timer_channel);
    }
}

void notified(microkit_channel channel)
{
    if (channel == bringup_config.irq_channel) {
        uart_interrupted();
        pump();
        microkit_irq_ack(channel);
    } else {
        tick();
        pump();
    }
}
