/* SPDX-License-Identifier: BSD-2-Clause */

/* The multiplexer's answers about the switch's counters. */

#include "decimal.h"
#include "mux.h"

#define ASKS_LENGTH (sizeof(MUX_COUNTS) - 1)

void mux_count(struct mux *mux, uint32_t guests)
{
    mux->counts.guests = (uint32_t)min_u64(guests, TALLY_PORTS);
}

void mux_ask_counts(struct mux *mux, const uint8_t *body, uint32_t n, uint32_t sequence)
{
    struct mux_counts *counts = &mux->counts;
    bool asks = n == ASKS_LENGTH + 1 && counts->state != MUX_COUNTS_READY;
    for (uint32_t i = 0; asks && i < ASKS_LENGTH; i++) {
        asks = body[i] == (uint8_t)MUX_COUNTS[i];
    }
    if (!asks || frame_port_of_key(body[ASKS_LENGTH]) >= counts->guests) {
        return;
    }
    counts->key = body[ASKS_LENGTH];
    counts->sequence = sequence;
    if (counts->state == MUX_COUNTS_IDLE) {
        counts->state = MUX_COUNTS_WANTED;
    }
}

bool mux_wants_counts(struct mux *mux)
{
    bool wants = mux->counts.state == MUX_COUNTS_WANTED;
    if (wants) {
        mux->counts.state = MUX_COUNTS_ASKED;
    }
    return wants;
}

void mux_counted(struct mux *mux, const struct tally *tally)
{
    struct mux_counts *counts = &mux->counts;
    if (counts->state != MUX_COUNTS_ASKED) {
        return;
    }
    bool whole =
        tally_read(tally, frame_port_of_key(counts->key), &counts->kind, &counts->values, counts->value);
    counts->next = 0;
    counts->state = whole ? MUX_COUNTS_READY : MUX_COUNTS_WANTED;
}

static uint32_t put_text(char *out, const char *text)
{
    uint32_t n = 0;
    for (; text[n] != 0; n++) {
        out[n] = text[n];
    }
    return n;
}

bool mux_next_counts(struct mux *mux, char text[FRAME_BODY + 1])
{
    struct mux_counts *counts = &mux->counts;
    if (counts->state != MUX_COUNTS_READY) {
        return false;
    }
    const char *kind = counts->kind == TALLY_FRAMES    ? " frames "
                       : counts->kind == TALLY_PACKETS ? " packets "
                                                       : " nothing ";
    uint32_t n = put_text(text, MUX_COUNTS);
    text[n++] = (char)counts->key;
    n += put_text(text + n, kind);
    n += decimal(counts->next, text + n);
    text[n++] = '/';
    n += decimal(counts->values, text + n);
    while (counts->next < counts->values && n + 1 + DECIMAL_DIGITS <= FRAME_BODY) {
        text[n++] = ' ';
        n += decimal(counts->value[counts->next++], text + n);
    }
    text[n] = 0;
    if (counts->next == counts->values) {
        counts->state = MUX_COUNTS_IDLE;
    }
    return true;
}
