/* SPDX-License-Identifier: BSD-2-Clause */
#include "mux.h"

#define NO_PORT MUX_MAX_PORTS

void mux_init(struct mux *mux, uint64_t patience, uint64_t second)
{
    memset(mux, 0, sizeof(*mux));
    mux->patience = patience;
    mux->second = second;
    mux->open = NO_PORT;
}

uint32_t mux_add(struct mux *mux, const char *name, bool programs, struct charq_port *ring)
{
    uint32_t length = 0;
    while (length <= MUX_NAME && name[length] != 0) {
        length++;
    }
    if (mux->ports == MUX_MAX_PORTS || length > MUX_NAME) {
        return MUX_MAX_PORTS;
    }
    struct mux_port *port = &mux->port[mux->ports];
    port->name = name;
    port->programs = programs;
    port->full_since = MUX_NEVER;
    port->taken = FRAME_SEQUENCES;
    charq_attach(&port->out, &ring->out, ring->out_bytes, CHARQ_OUT_BYTES);
    charq_attach(&port->in, &ring->in, ring->in_bytes, CHARQ_IN_BYTES);
    return mux->ports++;
}

/* A line end of a guest is one line feed on its port, with or without a carriage return before it. Other
 * carriage returns stay: who edits a line goes back to its beginning by one. */
static void take(struct mux_port *port, uint8_t byte, bool raw)
{
    if (byte == '\n') {
        port->returned = false;
        port->complete = port->ended = true;
        return;
    }
    if (port->returned) {
        port->length += frame_escape('\r', raw, port->line + port->length);
    }
    port->returned = byte == '\r';
    if (!port->returned) {
        port->length += frame_escape(byte, raw, port->line + port->length);
    }
    /* The next byte may add two escapes. */
    port->complete = port->length + 2 * FRAME_ESCAPED > FRAME_BODY;
    port->ended = false;
}

/* Reads until the end of a line or a full body. */
static void collect(struct mux *mux, uint32_t index)
{
    struct mux_port *port = &mux->port[index];
    bool raw = index == mux->focus && mux->typist == MUX_PERSON && !port->programs;
    bool read = false;
    uint8_t byte;
    while (!port->complete && charq_read(&port->out, &byte, 1) == 1) {
        read = true;
        take(port, byte, raw);
    }
    if (read && charq_made_room(&port->out)) {
        mux->to_wake_out |= 1ULL << index;
    }
}

static void emit(struct mux *mux, const void *bytes, uint32_t n)
{
    memcpy(mux->pending + mux->pending_end, bytes, n);
    mux->pending_end += n;
}

static uint32_t length_of(const char *text)
{
    uint32_t n = 0;
    while (text[n] != 0) {
        n++;
    }
    return n;
}

static void emit_head(struct mux *mux, const char *name, char mark)
{
    emit(mux, name, length_of(name));
    emit(mux, (const char[]){mark, ' '}, 2);
}

/* Puts the tail to what was emitted since `start`. */
static void emit_tail(struct mux *mux, uint32_t start, const struct frame_tail *tail, bool hidden)
{
    if (hidden) {
        emit(mux, MUX_HIDE, sizeof(MUX_HIDE) - 1);
    } else {
        emit(mux, " ", 1);
    }
    frame_seal(mux->pending + start, mux->pending_end - start, tail);
    mux->pending_end += FRAME_TAIL;
    if (hidden) {
        emit(mux, (const char[]){MUX_SHOW}, 1);
    } else {
        emit(mux, "\r\n", 2);
    }
}

/* Ends the unfinished line that the terminal shows. */
static void break_line(struct mux *mux)
{
    if (mux->open != NO_PORT) {
        emit(mux, "\r\n", 2);
        mux->open = NO_PORT;
    }
}

static char mark_of(const struct mux_port *port, uint32_t from)
{
    return port->continues || from != 0 ? '+' : '|';
}

/* A frame with the rest of the port's line; hidden: the line goes on. */
static void emit_rest(struct mux *mux, uint32_t index, bool hidden)
{
    struct mux_port *port = &mux->port[index];
    struct frame_tail tail = {index, port->length - port->shown, port->sequence, !hidden && port->ended};
    bool same_line = mux->open == index;
    if (!same_line) {
        break_line(mux);
    }
    uint32_t start = mux->pending_end;
    if (!same_line) {
        emit_head(mux, port->name, mark_of(port, port->shown));
    }
    emit(mux, port->line + port->shown, tail.length);
    emit_tail(mux, start, &tail, hidden);
    port->sequence = (port->sequence + 1) % FRAME_SEQUENCES;
    port->shown = port->length;
    mux->open = hidden ? index : NO_PORT;
}

/* Shows an unfinished line again: for people, no frame. */
static void emit_again(struct mux *mux, uint32_t index)
{
    const struct mux_port *port = &mux->port[index];
    emit_head(mux, port->name, mark_of(port, 0));
    emit(mux, port->line, port->shown);
    emit(mux, MUX_HIDE "`-----------", sizeof(MUX_HIDE) - 1 + FRAME_TAIL);
    emit(mux, (const char[]){MUX_SHOW}, 1);
    mux->open = index;
}

/* Whether a line that has to be ended now is shown again below: a prompt for a person. */
static bool shows_again(const struct mux *mux)
{
    return mux->open == mux->focus && mux->typist != MUX_PROGRAM && mux->port[mux->focus].shown <= MUX_AGAIN;
}

static bool write_port(struct mux *mux, uint32_t index)
{
    struct mux_port *port = &mux->port[index];
    collect(mux, index);
    if (!port->complete) {
        bool show = index == mux->focus && !port->programs && port->shown < port->length;
        if (show) {
            emit_rest(mux, index, true);
        }
        return show;
    }
    bool again = mux->open != index && shows_again(mux);
    emit_rest(mux, index, false);
    port->continues = !port->ended;
    port->length = port->shown = 0;
    port->complete = false;
    if (again) {
        emit_again(mux, mux->focus);
    }
    return true;
}

/* A line of the multiplexer's own. */
static void emit_own(struct mux *mux, const char *name, const char *text, struct frame_tail tail)
{
    bool again = shows_again(mux);
    break_line(mux);
    uint32_t start = mux->pending_end;
    tail.length = length_of(text);
    emit_head(mux, name, '<');
    emit(mux, text, tail.length);
    emit_tail(mux, start, &tail, false);
    if (again) {
        emit_again(mux, mux->focus);
    }
}

/* What the multiplexer says itself about a port: an answer to a frame, a notice to a person. */
static void say(struct mux *mux, uint32_t index)
{
    struct mux_port *port = &mux->port[index];
    bool answers = port->answer != MUX_NO_ANSWER;
    const char *text = !answers ? MUX_NOTICE : port->answer == MUX_SAY_TAKEN ? MUX_TAKEN : MUX_FULL;
    emit_own(mux, port->name, text, (struct frame_tail){index, 0, answers ? port->answered : 0, answers});
    if (answers) {
        port->answer = MUX_NO_ANSWER;
    } else {
        port->notice = false;
    }
    if (!port->notice) {
        mux->to_say &= ~(1ULL << index);
    }
}

static void append(struct mux *mux, const char *text)
{
    uint32_t at = length_of(mux->remark);
    uint32_t n = (uint32_t)min_u64(length_of(text), MUX_REMARK - at);
    memcpy(mux->remark + at, text, n);
    mux->remark[at + n] = 0;
}

bool mux_remark(struct mux *mux, const char *before, const char *name, const char *after)
{
    if (mux->remark[0] != 0 || mux->ports == MUX_MAX_PORTS) {
        return false;
    }
    append(mux, before);
    append(mux, name);
    append(mux, after);
    return true;
}

/* Lets the next port that goes first, or the next of all others, write one frame. False when none has one. */
static bool write_turn(struct mux *mux, bool first)
{
    uint32_t *turn = first ? &mux->turn_first : &mux->turn;
    for (uint32_t i = 0; i < mux->ports; i++) {
        uint32_t index = *turn;
        struct mux_port *port = &mux->port[index];
        *turn = (index + 1) % mux->ports;
        if ((port->credit != 0) != first || !write_port(mux, index)) {
            continue;
        }
        uint32_t written = mux->pending_end;
        port->credit -= (uint32_t)min_u64(port->credit, written);
        mux->ahead = first ? mux->ahead + written : 0;
        return true;
    }
    return false;
}

/* Writes the next frame of the switch's counters. */
static bool write_counts(struct mux *mux)
{
    char text[FRAME_BODY + 1];
    if (!mux_next_counts(mux, text)) {
        return false;
    }
    emit_own(mux, MUX_SYSTEM, text, (struct frame_tail){mux->ports, 0, mux->counts.sequence, true});
    mux->ahead = 0;
    return true;
}

static uint64_t ticks_of(const struct mux *mux, uint64_t bytes)
{
    return bytes * mux->second / MUX_PACE;
}

/* The same at the limited pace. */
static bool write_paced(struct mux *mux, uint64_t now)
{
    mux->paused = mux->paid > now + ticks_of(mux, MUX_BURST);
    if (mux->paused || !(write_counts(mux) || write_turn(mux, false))) {
        return false;
    }
    mux->paid = (mux->paid > now ? mux->paid : now) + ticks_of(mux, mux->pending_end);
    return true;
}

int mux_next(struct mux *mux, uint64_t now)
{
    if (mux->pending_at == mux->pending_end) {
        mux->pending_at = mux->pending_end = 0;
        if (mux->remark[0] != 0) {
            emit_own(mux, MUX_SYSTEM, mux->remark, (struct frame_tail){mux->ports, 0, 0, false});
            mux->remark[0] = 0;
        } else if (mux->to_say != 0) {
            say(mux, (uint32_t)__builtin_ctzll(mux->to_say));
        } else if (mux->ahead >= MUX_AHEAD || !write_turn(mux, true)) {
            if (!write_paced(mux, now)) {
                write_turn(mux, true);
            }
        }
    }
    return mux->pending_at < mux->pending_end ? mux->pending[mux->pending_at++] : -1;
}

uint64_t mux_wakes(struct mux *mux)
{
    uint64_t wakes = mux->to_wake_out | mux->to_wake_in;
    mux->to_wake_out = mux->to_wake_in = 0;
    return wakes;
}
