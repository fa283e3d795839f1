/* SPDX-License-Identifier: BSD-2-Clause */

/* The multiplexer's input: keys of a person, frames of a program. */

#include "mux.h"

static void give_keyboard(struct mux *mux, uint32_t port, enum mux_typist typist)
{
    if (port < mux->ports) {
        mux->focus = port;
        mux->typist = typist;
    }
}

static void grant_credit(struct mux_port *port)
{
    if (port->programs) {
        port->credit = MUX_CREDIT;
    }
}

/* Gives a key to a guest, or drops it; false when it has to wait. */
static bool give(struct mux *mux, uint32_t index, uint8_t byte, uint64_t now)
{
    struct mux_port *port = &mux->port[index];
    if (charq_used(&port->in) <= CHARQ_IN_BYTES / 2) {
        port->full_since = MUX_NEVER;
        port->deaf = false;
    }
    if (port->deaf) {
        return true;
    }
    if (charq_write(&port->in, &byte, 1) == 1 ||
        (charq_await_room(&port->in) && charq_write(&port->in, &byte, 1) == 1)) {
        mux->to_wake_in |= 1ULL << index;
        grant_credit(port);
        return true;
    }
    port->full_since = min_u64(port->full_since, now);
    if (now - port->full_since >= mux->patience) {
        port->deaf = port->notice = true;
        mux->to_say |= 1ULL << index;
    }
    return port->deaf;
}

static void answer(struct mux *mux, uint32_t index, uint32_t sequence, enum mux_answer answer)
{
    mux->port[index].answer = answer;
    mux->port[index].answered = sequence;
    mux->to_say |= 1ULL << index;
}

static bool is_keys(const uint8_t *body, uint32_t n)
{
    static const char keys[] = MUX_KEYS;
    bool same = n == sizeof(keys) - 1;
    for (uint32_t i = 0; same && i < n; i++) {
        same = body[i] == (uint8_t)keys[i];
    }
    return same;
}

/* A frame is taken whole or not at all; one that is sent again because its answer was lost, once. */
static void take_frame(struct mux *mux)
{
    struct frame_tail tail;
    uint32_t n = mux->frame_length;
    if (n > sizeof(mux->frame) || !frame_open(mux->frame, n, &tail) || tail.length != n - FRAME_TAIL ||
        tail.port > mux->ports) {
        return;
    }
    if (tail.port == mux->ports) {
        mux_ask_counts(mux, mux->frame, tail.length, tail.sequence);
        return;
    }
    struct mux_port *port = &mux->port[tail.port];
    n = frame_unescape(mux->frame, tail.length);
    if (n > FRAME_BODY) {
        return;
    }
    if (tail.flag) {
        bool person = is_keys(mux->frame, n);
        give_keyboard(mux, tail.port, person ? MUX_NOBODY : MUX_PROGRAM);
    } else if (tail.sequence != port->taken) {
        if (charq_room(&port->in, 0) < n) {
            answer(mux, tail.port, tail.sequence, MUX_SAY_FULL);
            return;
        }
        charq_write(&port->in, mux->frame, n);
        port->taken = tail.sequence;
        if (n != 0) {
            mux->to_wake_in |= 1ULL << tail.port;
            grant_credit(port);
        }
    }
    answer(mux, tail.port, tail.sequence, MUX_SAY_TAKEN);
}

static void take_frame_byte(struct mux *mux, uint8_t byte)
{
    if (byte == '\n' || byte == '\r') {
        mux->in_frame = false;
        take_frame(mux);
    } else if (mux->frame_length <= sizeof(mux->frame)) {
        if (mux->frame_length < sizeof(mux->frame)) {
            mux->frame[mux->frame_length] = byte;
        }
        mux->frame_length++; /* one more than there is room for: too long */
    }
}

/* While a program has the line: a person who wants it presses the escape key MUX_CALLS times. One altered
 * byte must not do, since what follows of the frame would be typed. */
static void take_call(struct mux *mux, uint8_t byte)
{
    if (byte == MUX_ESCAPE) {
        mux->calls++;
        return;
    }
    if (mux->calls >= MUX_CALLS) {
        give_keyboard(mux, frame_port_of_key(byte), MUX_PERSON);
    }
    mux->calls = 0;
}

bool mux_input(struct mux *mux, uint8_t byte, uint64_t now)
{
    if (mux->ports == 0) {
        return true;
    }
    if (byte == MUX_FRAME) {
        mux->in_frame = true;
        mux->frame_length = 0;
        mux->escaped = false;
        mux->calls = 0;
        return true;
    }
    if (mux->in_frame) {
        take_frame_byte(mux, byte);
        return true;
    }
    if (mux->typist == MUX_PROGRAM) {
        take_call(mux, byte);
        return true;
    }
    if (!mux->escaped && byte == MUX_ESCAPE) {
        mux->escaped = true;
        return true;
    }
    if (mux->escaped && byte != MUX_ESCAPE) {
        mux->escaped = false;
        give_keyboard(mux, frame_port_of_key(byte), MUX_PERSON);
        return true;
    }
    if (!give(mux, mux->focus, byte, now)) {
        return false;
    }
    mux->typist = MUX_PERSON;
    mux->escaped = false;
    return true;
}

uint64_t mux_deadline(const struct mux *mux)
{
    const struct mux_port *port = &mux->port[mux->focus];
    uint64_t deadline = MUX_NEVER;
    if (port->full_since != MUX_NEVER && !port->deaf) {
        deadline = port->full_since + mux->patience;
    }
    /* A quarter of the burst at a time: not a wake-up for every line. */
    uint64_t more = mux->paid - mux->second * (MUX_BURST / 4 * 3) / MUX_PACE;
    return mux->paused ? min_u64(deadline, more) : deadline;
}
