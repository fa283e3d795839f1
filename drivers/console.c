/* SPDX-License-Identifier: BSD-2-Clause */

/* The console as a protection domain: the multiplexer between the VMMs' rings and one serial port. */

#include "console.h"

#include <microkit.h>

#include "counts.h"
#include "mux.h"
#include "timer.h"
#include "uart.h"
#include "watch.h"

#define PATIENCE 5u /* seconds that what is typed waits for a guest that does not read */
#define SLICE 256u  /* bytes written before input is looked at again, where the device takes all at once */

static struct mux mux;
static struct watch watch;
static uint64_t ticks;    /* of the ticker, as the timer knew them last */
static int held_out = -1; /* a byte that the transmitter did not take */
static int held_in = -1;  /* a byte that the guest's ring did not take */
static bool awaits_input, awaits_room;
static uint64_t alarm = TIMER_NEVER; /* the deadline that the timer knows */
static bool timer_works;             /* it has just said so */
static bool timer_asked;             /* whether it works; it has not answered */

/* The timer follows the domains of the configuration in `watch`, the ticker follows the timer. */
static uint32_t watched_timer(void)
{
    return console_config.watched;
}

static void ask_timer(void)
{
    if (!timer_asked) {
        timer_asked = true;
        microkit_notify(console_config.timer_channel);
    }
}

/*
 * As in the VMM: stale deadlines stay armed, since a spurious wake-up is cheaper than a cancel call, and one
 * that has passed without a notification is armed again.
 *
 * A call to a timer that has failed would never return, and this domain has to say that it has failed. So the
 * call is made once the timer has notified us, at a deadline or because it was asked.
 */
static void arm(uint64_t deadline)
{
    if (deadline >= alarm && alarm > timer_now()) {
        return;
    }
    if (!timer_works) {
        ask_timer();
        return;
    }
    alarm = min_u64(deadline, alarm);
    count(COUNTS_TIMER_CALLS);
    microkit_mr_set(0, alarm);
    microkit_ppcall(console_config.timer_channel, microkit_msginfo_new(TIMER_SET, 1));
    if (console_config.ticker != NULL && microkit_mr_get(0) != ticks) {
        ticks = microkit_mr_get(0);
        watch_answered(&watch, watched_timer() + 1);
    }
}

/* Asks all protection domains whether they still work, when it is time, and says who does not. */
static void look_after_others(uint64_t now)
{
    if (watch_is_due(&watch, now)) {
        for (uint32_t i = 0; i < console_config.watched; i++) {
            const struct pulse *pulse = console_config.watch[i].pulse;
            if (pulse != NULL && pulse_is_answered(pulse)) {
                watch_answered(&watch, i);
            }
        }
        uint64_t ask = watch_ask(&watch, now);
        for (uint32_t i = 0; i < console_config.watched; i++) {
            if ((ask >> i) & 1) {
                if (console_config.watch[i].pulse != NULL) {
                    pulse_ask(console_config.watch[i].pulse);
                }
                count(COUNTS_TO_PEERS);
                microkit_notify(console_config.watch[i].channel);
            }
        }
        if ((ask >> watched_timer()) & 1) {
            ask_timer();
        }
    }
    const struct watched *news = mux.remark[0] == 0 ? watch_news(&watch) : NULL;
    if (news != NULL) {
        mux_remark(&mux, "protection domain '", news->name,
                   news->late ? "' does not answer" : "' answers again");
    }
}

static void take_input(void)
{
    for (;;) {
        int byte = held_in >= 0 ? held_in : uart_get();
        held_in = -1;
        if (byte < 0) {
            return;
        }
        if (!mux_input(&mux, (uint8_t)byte, timer_now())) {
            held_in = byte; /* the rest waits in the device until the guest has read, or has not */
            return;
        }
    }
}

/* Writes up to SLICE bytes. False when there is nothing to write, or no room. */
static bool give_output(bool *full)
{
    uint64_t now = timer_now();
    for (uint32_t i = 0; i < SLICE; i++) {
        int byte = held_out >= 0 ? held_out : mux_next(&mux, now);
        held_out = -1;
        if (byte < 0) {
            return false;
        }
        if (!uart_put((uint8_t)byte)) {
            held_out = byte;
            *full = true;
            return false;
        }
        count(COUNTS_CHARACTERS);
    }
    return true;
}

static void pump(void)
{
    bool full = false;
    look_after_others(timer_now());
    do {
        take_input();
    } while (give_output(&full));
    if (mux_wants_counts(&mux)) {
        count(COUNTS_TO_PEERS);
        microkit_notify(console_config.switch_channel);
    }
    arm(min_u64(mux_deadline(&mux), watch.next));
    timer_works = false;
    if (awaits_input != (held_in < 0)) {
        awaits_input = held_in < 0;
        uart_await_input(awaits_input);
    }
    if (awaits_room != full) {
        awaits_room = full;
        uart_await_room(full);
    }
    uint64_t wakes = mux_wakes(&mux);
    for (uint32_t i = 0; i < console_config.ports; i++) {
        if ((wakes >> i) & 1) {
            count(COUNTS_TO_PEERS);
            microkit_notify(console_config.port[i].channel);
        }
    }
}

void init(void)
{
    counts_init(microkit_name, timer_frequency(), timer_now());
    mux_init(&mux, PATIENCE * timer_frequency(), timer_frequency());
    for (uint32_t i = 0; i < console_config.ports; i++) {
        const struct console_port *port = &console_config.port[i];
        mux_add(&mux, port->name, port->programs, port->ring);
    }
    mux_count(&mux, console_config.counted);
    watch_init(&watch, timer_now(), timer_frequency());
    for (uint32_t i = 0; i < console_config.watched; i++) {
        watch_add(&watch, console_config.watch[i].name, WATCH_BEATS);
    }
    watch_add(&watch, console_config.timer, WATCH_BEATS_ABOVE);
    if (console_config.ticker != NULL) {
        watch_add(&watch, console_config.ticker, WATCH_BEATS);
    }
    uart_start(console_config.uart);
    microkit_irq_ack(console_config.irq_channel);
    pump();
}

void notified(microkit_channel channel)
{
    if (channel == console_config.irq_channel) {
        count(COUNTS_BY_DEVICE);
        uart_interrupted();
        pump();
        microkit_irq_ack(channel);
    } else {
        count(channel == console_config.timer_channel ? COUNTS_BY_TIMER : COUNTS_BY_PORT);
        if (channel == console_config.timer_channel) {
            alarm = TIMER_NEVER;
            timer_works = true;
            timer_asked = false;
            watch_answered(&watch, watched_timer());
        }
        if (channel == console_config.switch_channel) {
            mux_counted(&mux, console_config.tally);
        }
        for (uint32_t i = 0; i < console_config.watched; i++) {
            if (channel == console_config.watch[i].channel && console_config.watch[i].pulse == NULL) {
                watch_answered(&watch, i);
            }
        }
        pump();
    }
}
