/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Fuzzer of the whole way of a frame: a hostile guest's network device, the switch, and the device of another
 * guest, whose driver has any set of features. The oracle is the rules: every frame that the receiver's
 * network stack sees obeys them, once checksums are completed and segments are cut.
 *
 * The input is a program of small steps: a driver starts anew with some features, or a frame goes out. A
 * frame starts as an honest one of some length, and then bytes of it and of its virtio header are changed.
 */
#include <stdio.h>

#include "fuzz.h"
#include "rules.h"
#include "two_guests.h"

static void on_frame(uint32_t to, const uint8_t *frame, uint32_t length)
{
    const char *broken = broken_rule(1 - to, frame, length);
    if (broken != NULL) {
        fprintf(stderr, "guest %u sees a frame of %u bytes against the rule: %s\n", to, length, broken);
        abort();
    }
}

static uint32_t some_features(const uint8_t **data, size_t *left)
{
    static const uint32_t bits[] = {CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4, MRG_RXBUF};
    uint64_t chosen = take(data, left, 1);
    uint32_t features = 0;
    for (uint32_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        features |= chosen >> i & 1 ? bits[i] : 0;
    }
    return features;
}

static void step(const uint8_t **data, size_t *left)
{
    uint8_t op = (uint8_t)take(data, left, 1);
    if ((op & 7) == 7) {
        start_driver(&guests[op >> 3 & 1], some_features(data, left));
        return;
    }
    enum template kind = (enum template)(op % TEMPLATES);
    uint32_t from = template_sender(kind) ? 0 : 1;
    uint32_t length = compose(kind, (uint32_t)take(data, left, 2) % 65000);
    uint8_t *sent = guests[from].memory + TX_SPACE;
    uint32_t within = 12 + 80;
    if (op & 0x80) {
        /* The claim that any frame is segmented, and changes to the header alone. */
        struct sent_header claim;
        memcpy(&claim, sent, sizeof(claim));
        claim.gso_type = 1;
        claim.hdr_len = 54;
        claim.gso_size = 1000;
        memcpy(sent, &claim, sizeof(claim));
        within = 12;
    }
    for (uint32_t changes = op >> 3 & 7; changes > 0; changes--) {
        uint32_t where = (uint32_t)take(data, left, 1) % within;
        sent[where] = (uint8_t)take(data, left, 1);
    }
    if (op & 0x40) {
        length = (uint32_t)take(data, left, 3) % (NETQ_FRAME_MAX + 2);
    }
    send_frame(from, length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left)
{
    uint32_t first = some_features(&data, &left), second = some_features(&data, &left);
    start_guests(first, second);
    for (uint32_t steps = 0; left > 0 && steps < 20; steps++) {
        step(&data, &left);
    }
    return 0;
}
