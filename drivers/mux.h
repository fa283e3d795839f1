/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Several consoles on one serial line. Portable: bytes in, bytes out, no device.
 *
 * Output. Every line carries the name of the console it comes from: `server| text`. A line goes out in one
 * piece; one longer than MUX_LINE is cut, and the pieces after the first are marked `server+ text`. The
 * console that has the keyboard is shown as it types, so that prompts appear; when another one completes a
 * line meanwhile, that line gets a line of its own and the unfinished one is shown again below it.
 *
 * Input. Bytes go to the console that has the keyboard. Ctrl-\ (0x1c) and one of 0–9, a–z, A–Z gives the
 * keyboard to the console of that number; Ctrl-\ twice sends one. What finds no room waits, and what is typed
 * behind it for others as well: not for longer than the multiplexer's patience, however, counted from when
 * the guest's ring was full until it is half empty. Then input for this guest is dropped until that is so,
 * and a line on its console says it.
 */

#include "charq.h"

#define MUX_MAX_PORTS 62u
#define MUX_LINE 240u
#define MUX_NAME 24u
#define MUX_ESCAPE 0x1cu
#define MUX_NOTICE "console: nobody reads what is typed here; it is dropped until somebody does"
#define MUX_NEVER UINT64_MAX

struct mux_port {
    const char *name;
    struct charq_end out; /* from the guest */
    struct charq_end in;  /* to the guest */
    bool programs;        /* nobody types there: only whole lines are shown */
    uint8_t line[MUX_LINE];
    uint32_t length;     /* bytes of the line so far */
    uint32_t shown;      /* of these, already written because it has the keyboard */
    bool complete;       /* the line has ended and waits to be written */
    bool broken_line;    /* the line goes on after this piece */
    bool continues;      /* this piece continues a cut line */
    uint64_t full_since; /* when input first found no room, or MUX_NEVER */
    bool deaf;           /* input is dropped */
    bool notice;         /* which has still to be said */
};

struct mux {
    uint64_t patience; /* counter ticks that input may wait for a guest */
    uint32_t ports;
    uint32_t focus; /* the console that has the keyboard */
    uint32_t turn;  /* the port that is looked at next */
    struct mux_port port[MUX_MAX_PORTS];
    uint8_t pending[2 * (MUX_LINE + MUX_NAME) + 16]; /* bytes on their way to the serial line */
    uint32_t pending_at;
    uint32_t pending_end;
    bool escaped;         /* the escape byte came, its argument has not */
    uint64_t to_wake_out; /* ports (bit set) whose producer waits for room that there is now */
    uint64_t to_wake_in;  /* ports for whose guest there is new input */
};

void mux_init(struct mux *mux, uint64_t patience);

/* Adds a console and returns its number, or MUX_MAX_PORTS when there is no room. The name is kept by
 * reference. */
uint32_t mux_add(struct mux *mux, const char *name, bool programs, struct charq_port *ring);

/* The next byte for the serial line, or -1 when there is none. */
int mux_next(struct mux *mux);

/* Takes a byte from the serial line at this counter value. False when the console that has the keyboard has
 * no room: offer it again, at the deadline at the latest. */
bool mux_input(struct mux *mux, uint8_t byte, uint64_t now);

/* When the byte that was refused will be dropped, or MUX_NEVER. */
uint64_t mux_deadline(const struct mux *mux);

/* Ports to be notified since the last call, and forgets them. */
uint64_t mux_wakes(struct mux *mux);
