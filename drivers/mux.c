/* SPDX-License-Identifier: BSD-2-Clause */
#include "mux.h"

void mux_init(struct mux *mux, uint64_t patience)
{
    memset(mux, 0, sizeof(*mux));
    mux->patience = patience;
}

uint32_t mux_add(struct mux *mux, const char *name, bool programs, struct charq_port *ring)
{
    if (mux->ports == MUX_MAX_PORTS) {
        return MUX_MAX_PORTS;
    }
    struct mux_port *port = &mux->port[mux->ports];
    port->name = name;
    port->programs = programs;
    port->full_since = MUX_NEVER;
    charq_attach(&port->out, &ring->out, ring->out_bytes, CHARQ_OUT_BYTES);
    charq_attach(&port->in, &ring->in, ring->in_bytes, CHARQ_IN_BYTES);
    return mux->ports++;
}

/* Makes the next line one of our own, once the guest's unfinished one has ended. */
static void put_notice(struct mux_port *port)
{
    static const char text[] = MUX_NOTICE;
    _Static_assert(sizeof(text) - 1 < MUX_LINE, "fits a line");
    if (port->length == 0) {
        memcpy(port->line, text, sizeof(text) - 1);
        port->length = sizeof(text) - 1;
        port->notice = port->continues = false;
    }
    port->complete = true;
    port->broken_line = false;
}

/* Reads until the end of a line or a full buffer. A carriage return before the end is left out, since line
 * ends are ours; others stay: who edits a line goes back to its beginning by one. */
static void collect(struct mux *mux, uint32_t index)
{
    struct mux_port *port = &mux->port[index];
    uint8_t byte;
    bool read = false;
    if (port->notice && !port->complete) {
        put_notice(port);
    }
    while (!port->complete && charq_read(&port->out, &byte, 1) == 1) {
        read = true;
        if (byte == '\n') {
            if (port->length > port->shown && port->line[port->length - 1] == '\r') {
                port->length--;
            }
            port->complete = true;
            port->broken_line = false;
        } else {
            port->line[port->length++] = byte;
            port->complete = port->broken_line = port->length == MUX_LINE;
        }
    }
    if (read && charq_made_room(&port->out)) {
        mux->to_wake_out |= 1ULL << index;
    }
}

static void emit(struct mux *mux, const uint8_t *bytes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        mux->pending[mux->pending_end++] = bytes[i];
    }
}

static void emit_line(struct mux *mux, const struct mux_port *port, uint32_t from)
{
    if (from == 0) {
        uint32_t n = 0;
        while (n < MUX_NAME && port->name[n] != 0) {
            n++;
        }
        emit(mux, (const uint8_t *)port->name, n);
        emit(mux, (const uint8_t *)(port->continues ? "+ " : "| "), 2);
    }
    emit(mux, port->line + from, port->length - from);
}

static void finish(struct mux_port *port)
{
    port->continues = port->broken_line;
    port->length = 0;
    port->shown = 0;
    port->complete = false;
}

static void write_port(struct mux *mux, uint32_t index)
{
    struct mux_port *port = &mux->port[index];
    struct mux_port *focus = &mux->port[mux->focus];
    if (!port->complete) {
        /* An unfinished line: shown only where somebody types. */
        if (index == mux->focus && !port->programs && port->shown < port->length) {
            emit_line(mux, port, port->shown);
            port->shown = port->length;
        }
        return;
    }
    bool interrupts = index != mux->focus && focus->shown != 0;
    if (interrupts) {
        emit(mux, (const uint8_t *)"\r\n", 2);
    }
    emit_line(mux, port, port->shown);
    emit(mux, (const uint8_t *)"\r\n", 2);
    if (interrupts) {
        emit_line(mux, focus, 0);
        focus->shown = focus->length;
    }
    finish(port);
}

int mux_next(struct mux *mux)
{
    if (mux->pending_at == mux->pending_end) {
        mux->pending_at = mux->pending_end = 0;
        for (uint32_t i = 0; i < mux->ports && mux->pending_end == 0; i++) {
            uint32_t index = mux->turn;
            mux->turn = (mux->turn + 1) % mux->ports;
            collect(mux, index);
            write_port(mux, index);
        }
    }
    return mux->pending_at < mux->pending_end ? mux->pending[mux->pending_at++] : -1;
}

static uint32_t port_of_key(uint8_t key)
{
    if (key >= '0' && key <= '9') {
        return key - '0';
    }
    if (key >= 'a' && key <= 'z') {
        return 10u + key - 'a';
    }
    return key >= 'A' && key <= 'Z' ? 36u + key - 'A' : MUX_MAX_PORTS;
}

static void give_keyboard(struct mux *mux, uint32_t port)
{
    struct mux_port *old = &mux->port[mux->focus];
    if (port == mux->focus || port >= mux->ports) {
        return;
    }
    /* The unfinished line stays where it is; what follows of it will be a piece of its own. */
    if (old->shown != 0 && !old->complete) {
        old->complete = true;
        old->broken_line = true;
    }
    mux->focus = port;
}

/* Gives a byte to a guest, or drops it; false when it has to wait. */
static bool give(const struct mux *mux, struct mux_port *port, uint8_t byte, uint64_t now, bool *written)
{
    if (charq_used(&port->in) <= CHARQ_IN_BYTES / 2) {
        port->full_since = MUX_NEVER;
        port->deaf = false;
    }
    *written = !port->deaf && (charq_write(&port->in, &byte, 1) == 1 ||
                               (charq_await_room(&port->in) && charq_write(&port->in, &byte, 1) == 1));
    if (*written || port->deaf) {
        return true;
    }
    port->full_since = min_u64(port->full_since, now);
    port->deaf = port->notice = now - port->full_since >= mux->patience;
    return port->deaf;
}

bool mux_input(struct mux *mux, uint8_t byte, uint64_t now)
{
    if (mux->ports == 0) {
        return true;
    }
    if (!mux->escaped && byte == MUX_ESCAPE) {
        mux->escaped = true;
        return true;
    }
    if (mux->escaped && byte != MUX_ESCAPE) {
        mux->escaped = false;
        give_keyboard(mux, port_of_key(byte));
        return true;
    }
    bool written;
    if (!give(mux, &mux->port[mux->focus], byte, now, &written)) {
        return false;
    }
    mux->escaped = false;
    mux->to_wake_in |= written ? 1ULL << mux->focus : 0;
    return true;
}

uint64_t mux_deadline(const struct mux *mux)
{
    const struct mux_port *port = &mux->port[mux->focus];
    bool waits = port->full_since != MUX_NEVER && !port->deaf;
    return waits ? port->full_since + mux->patience : MUX_NEVER;
}

uint64_t mux_wakes(struct mux *mux)
{
    uint64_t wakes = mux->to_wake_out | mux->to_wake_in;
    mux->to_wake_out = mux->to_wake_in = 0;
    return wakes;
}
