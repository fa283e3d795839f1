/* SPDX-License-Identifier: BSD-2-Clause */

/* Two guests at one switch: what the receiver's network stack sees of frames with offload metadata. */
#include "case.h"
#include "fuzz.h"
#include "rules.h"
#include "two_guests.h"

static uint8_t seen[64][FRAME_BYTES];
static uint32_t seen_length[64];
static uint32_t count;

static void on_frame(uint32_t to, const uint8_t *frame, uint32_t length)
{
    const char *broken = broken_rule(1 - to, frame, length);
    if (broken != NULL) {
        printf("%s\n", broken);
    }
    CHECK(broken == NULL);
    CHECK(count < 64);
    memcpy(seen[count], frame, length);
    seen_length[count++] = length;
}

static struct sent_header *header_of(uint32_t from)
{
    return (struct sent_header *)(void *)(guests[from].memory + TX_SPACE);
}

/* Whether TCP's or UDP's checksum of a frame is right: the sum with the pseudo header comes to 0xffff. */
static bool sum_is_right(const uint8_t *frame, uint32_t length)
{
    uint32_t sum = internet_sum(frame, 26, length) + frame[23] + (length - 34);
    return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

static const uint32_t every_receiver[] = {0,
                                          MRG_RXBUF,
                                          GUEST_CSUM,
                                          GUEST_CSUM | MRG_RXBUF,
                                          GUEST_TSO4,
                                          GUEST_CSUM | GUEST_TSO4,
                                          GUEST_CSUM | GUEST_TSO4 | MRG_RXBUF};
#define RECEIVERS (sizeof(every_receiver) / sizeof(every_receiver[0]))

CASE(honest_frames_reach_every_kind_of_receiver_with_right_checksums)
{
    for (uint32_t r = 0; r < RECEIVERS; r++) {
        uint32_t features = every_receiver[r] | CSUM | HOST_TSO4;
        for (enum template kind = SYN_TO_3240; kind < TEMPLATES; kind++) {
            start_guests(features, features);
            uint32_t from = template_sender(kind) ? 0 : 1;
            uint32_t length = compose(kind, 100);
            count = 0;
            send_frame(from, length);
            EQUAL(count, 1);
            EQUAL(seen_length[0], length);
            CHECK(kind >= PING || sum_is_right(seen[0], seen_length[0]));
        }
    }
}

CASE(a_segmented_frame_reaches_every_kind_of_receiver_whole)
{
    for (uint32_t r = 0; r < RECEIVERS; r++) {
        start_guests(every_receiver[r], CSUM | HOST_TSO4);
        uint32_t length = compose(DATA_TO_3240, 20500), payload = 0;
        count = 0;
        send_frame(1, length);
        EQUAL(count, 21);
        for (uint32_t n = 0; n < count; n++) {
            CHECK(memcmp(seen[n] + 54, guests[1].memory + TX_SPACE + 12 + 54 + payload,
                         seen_length[n] - 54) == 0);
            payload += seen_length[n] - 54;
            CHECK((every_receiver[r] & GUEST_TSO4) || sum_is_right(seen[n], seen_length[n]));
        }
        EQUAL(payload, 20500);
    }
}

/* One rule allows tcp/3240. The receiver would complete the checksum into the destination port. */
CASE(a_syn_for_port_3240_does_not_become_one_for_port_22)
{
    for (uint32_t r = 0; r < RECEIVERS; r++) {
        start_guests(every_receiver[r], CSUM | HOST_TSO4);
        uint32_t length = compose(SYN_TO_3240, 2);
        uint8_t *frame = guests[1].memory + TX_SPACE + 12;
        uint32_t others;
        memset(frame + 54, 0, 2);
        others = internet_sum(frame, 34, length);
        /* The word that makes the sum from TCP's header on come out as 22 (one's complement). */
        uint32_t filler = (0xffff ^ 22) + (0xffff ^ others);
        filler = (filler & 0xffff) + (filler >> 16);
        frame[54] = (uint8_t)(filler >> 8);
        frame[55] = (uint8_t)filler;
        EQUAL(internet_sum(frame, 34, length) ^ 0xffff, 22);
        *header_of(1) = (struct sent_header){.flags = 1, .csum_start = 34, .csum_offset = 2};
        count = 0;
        send_frame(1, length);
        EQUAL(count, 0);
        EQUAL(guests[1].net.counters.tx_frames, 1); /* the device hands it on, the switch drops it */
        EQUAL(forward.state.counters[1].drops[VSWITCH_CHECKSUM], 1);
        *header_of(1) = (struct sent_header){.flags = 1, .csum_start = 34, .csum_offset = 16};
        send_frame(1, length);
        EQUAL(count, 1);
        EQUAL(word_at(seen[0] + 36), 3240);
    }
}

CASE(a_datagram_does_not_pass_the_mtu_as_a_segmented_frame)
{
    start_guests(CSUM | HOST_TSO4, GUEST_CSUM | GUEST_TSO4 | MRG_RXBUF);
    uint32_t length = compose(DATAGRAM, 3000);
    count = 0;
    *header_of(0) = (struct sent_header){
        .flags = 1, .gso_type = 1, .hdr_len = 42, .gso_size = 1000, .csum_start = 34, .csum_offset = 6};
    send_frame(0, length);
    EQUAL(count, 0);
    EQUAL(forward.state.counters[0].drops[VSWITCH_SEGMENTATION], 1);
    *header_of(0) = (struct sent_header){.flags = 1, .csum_start = 34, .csum_offset = 6};
    send_frame(0, length);
    EQUAL(count, 0);
    EQUAL(guests[0].net.counters.tx_oversize, 1);
}

CASE(a_receiver_sees_no_field_that_the_sender_left_over)
{
    start_guests(GUEST_CSUM | GUEST_TSO4 | MRG_RXBUF, CSUM | HOST_TSO4);
    uint32_t length = compose(DATA_TO_3240, 100);
    struct netq_frame frame;
    *header_of(1) = (struct sent_header){
        .hdr_len = 0xffff, .gso_size = 0xffff, .csum_start = 0xffff, .csum_offset = 0xffff};
    count = 0;
    describe(&guests[1], VIRTIO_NET_TX, 0, TX_SPACE, 12 + length, 0);
    offer(&guests[1], VIRTIO_NET_TX, 0);
    uint64_t wake;
    virtio_net_run(&guests[1].net);
    forward_pass(&forward, 0, &wake);
    CHECK(netq_look(&guests[0].net.rx, &frame));
    EQUAL(frame.hdr_len | frame.gso_size | frame.csum_start | frame.csum_offset, 0);
    settle();
    EQUAL(count, 1);
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(honest_frames_reach_every_kind_of_receiver_with_right_checksums),
    NAMED(a_segmented_frame_reaches_every_kind_of_receiver_whole),
    NAMED(a_syn_for_port_3240_does_not_become_one_for_port_22),
    NAMED(a_datagram_does_not_pass_the_mtu_as_a_segmented_frame),
    NAMED(a_receiver_sees_no_field_that_the_sender_left_over),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
