/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A console multiplexer with three consoles, and what a guest, a person and a program do at it. */
#include "case.h"
#include "mux.h"

#define PATIENCE 5000u
#define SECOND 1000000u

static uint64_t clock_now;

static struct mux mux;
static struct charq_port lines[3];
static struct charq_end guest_out[3], guest_in[3];
static char serial[65536];

static inline void start_mux(void)
{
    static const char *const names[3] = {"server", "server.control", "client"};
    memset(lines, 0, sizeof(lines));
    mux_init(&mux, PATIENCE, SECOND);
    clock_now = 0;
    for (uint32_t i = 0; i < 3; i++) {
        EQUAL(mux_add(&mux, names[i], i == 1, &lines[i]), i);
        charq_attach(&guest_out[i], &lines[i].out, lines[i].out_bytes, CHARQ_OUT_BYTES);
        charq_attach(&guest_in[i], &lines[i].in, lines[i].in_bytes, CHARQ_IN_BYTES);
    }
}

static inline void print(uint32_t port, const char *text)
{
    EQUAL(charq_write(&guest_out[port], (const uint8_t *)text, (uint32_t)strlen(text)), strlen(text));
}

/* What the terminal shows: the line's bytes without tails and what hides them. */
static inline const char *shown(void)
{
    uint32_t n = 0;
    for (int byte = mux_next(&mux, clock_now); byte >= 0 && n < sizeof(serial) - 1;
         byte = mux_next(&mux, clock_now)) {
        serial[n++] = (char)byte;
        bool hidden = byte == MUX_SHOW && n >= 18 && memcmp(serial + n - 18, MUX_HIDE, 5) == 0;
        bool ends = n >= 15 && memcmp(serial + n - 2, "\r\n", 2) == 0 && serial[n - 14] == FRAME_MARK;
        if (hidden) {
            n -= 18;
        } else if (ends) {
            CHECK(serial[n - 15] == ' ');
            n -= 15;
            memcpy(serial + n, "\r\n", 2);
            n += 2;
        }
    }
    serial[n] = 0;
    return serial;
}

/* The line's bytes as they are. */
static inline const char *raw_line(void)
{
    uint32_t n = 0;
    for (int byte = mux_next(&mux, clock_now); byte >= 0 && n < sizeof(serial) - 1;
         byte = mux_next(&mux, clock_now)) {
        serial[n++] = (char)byte;
    }
    serial[n] = 0;
    return serial;
}

static inline void type(const char *keys)
{
    for (; *keys != 0; keys++) {
        CHECK(mux_input(&mux, (uint8_t)*keys, 0));
    }
}

/* A frame as a program sends it. */
static inline void send(uint32_t port, uint32_t sequence, bool flag, const char *body)
{
    uint8_t frame[FRAME_BODY + FRAME_TAIL];
    struct frame_tail tail = {port, (uint32_t)strlen(body), sequence, flag};
    memcpy(frame, body, tail.length);
    frame_seal(frame, tail.length, &tail);
    CHECK(mux_input(&mux, MUX_FRAME, 0));
    for (uint32_t i = 0; i < tail.length + FRAME_TAIL; i++) {
        CHECK(mux_input(&mux, frame[i], 0));
    }
    CHECK(mux_input(&mux, '\n', 0));
}

static inline void fill(uint64_t now)
{
    for (uint32_t i = 0; i < CHARQ_IN_BYTES; i++) {
        CHECK(mux_input(&mux, 'x', now));
    }
}

static inline void guest_reads(uint32_t port, uint32_t n)
{
    uint8_t bytes[CHARQ_IN_BYTES];
    EQUAL(charq_read(&guest_in[port], bytes, n), n);
    charq_made_room(&guest_in[port]);
}
