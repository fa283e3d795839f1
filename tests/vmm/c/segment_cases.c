/* SPDX-License-Identifier: BSD-2-Clause */
#include "net_port.h"
#include "segment.h"

#define TCP_START 34u

/* A segmented TCP frame in the other pool: `payload` bytes, cut every 500. */
static struct netq_frame segmented(uint32_t payload)
{
    static const uint8_t v4_head[] = {0x45, 0, 0,  0,  0xff, 0xff, 0x40, 0,  64, 6,
                                      0,    0, 10, 77, 0,    3,    10,   77, 0,  2};
    static const uint8_t tcp_head[] = {0x0c, 0xa8, 0xc0, 0,    0xff, 0xff, 0xff, 0, 1, 2,
                                       3,    4,    0x80, 0x99, 1,    0,    0,    0, 0, 0};
    memset(other_pool, 0, TCP_START + 32);
    other_pool[12] = 0x08;
    memcpy(other_pool + 14, v4_head, sizeof(v4_head));
    memcpy(other_pool + TCP_START, tcp_head, sizeof(tcp_head)); /* FIN, PSH, ACK, CWR; 12 bytes of options */
    for (uint32_t i = 0; i < payload; i++) {
        other_pool[TCP_START + 32 + i] = (uint8_t)(i * 7);
    }
    return (struct netq_frame){.length = TCP_START + 32 + payload,
                               .flags = 1,
                               .gso_type = 1,
                               .gso_size = 500,
                               .csum_start = TCP_START,
                               .csum_offset = 16};
}

static uint32_t word(uint64_t gpa)
{
    return (uint32_t)*at(gpa) << 8 | *at(gpa + 1);
}

/* The sum over the pseudo header and everything from TCP on: 0xffff in a finished segment. */
static uint32_t tcp_sum(uint64_t frame, uint32_t length)
{
    uint32_t tcp = TCP_START, sum = 6 + length;
    for (uint32_t i = 26; i < tcp; i += 2) {
        sum += word(frame + i);
    }
    *at(frame + tcp + length) = 0; /* pads an odd length */
    for (uint32_t i = 0; i < length; i += 2) {
        sum += word(frame + tcp + i);
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static void check_segments(bool unfinished)
{
    static const uint32_t sizes[] = {500, 500, 201};
    struct netq_frame back;
    uint32_t tcp = TCP_START;
    start(unfinished ? F_GUEST_CSUM : 0);
    give_buffers(4, 2048);
    arrive(segmented(1201));
    virtio_net_run(&net);
    EQUAL(used_index(VIRTIO_NET_RX), 3);
    EQUAL(net.counters.rx_segmented, 1);
    EQUAL(net.counters.rx_refused, 0);
    CHECK(netq_look(&rx_done, &back));
    for (uint32_t n = 0; n < 3; n++) {
        uint64_t frame = DATA + 2048u * n + 12;
        EQUAL(used_length(VIRTIO_NET_RX, SIZE, (uint16_t)n), 12 + tcp + 32 + sizes[n]);
        CHECK(memcmp(at(frame + tcp + 32), other_pool + tcp + 32 + 500 * n, sizes[n]) == 0);
        EQUAL(word(frame + tcp + 4) << 16 | word(frame + tcp + 6), 0xffffff00u + 500 * n);
        EQUAL(*at(frame + tcp + 13), n == 0 ? 0x90u : n == 1 ? 0x10u : 0x19u);
        EQUAL(*at(frame - 11), 0); /* no segments any more */
        EQUAL(*at(frame - 12), unfinished);
        uint32_t ip_sum = 0;
        for (uint32_t i = 14; i < 34; i += 2) {
            ip_sum += word(frame + i);
        }
        EQUAL((ip_sum & 0xffff) + (ip_sum >> 16), 0xffff);
        EQUAL(word(frame + 18), (0xffffu + n) & 0xffff);
        EQUAL(word(frame + 16), 52 + sizes[n]);
        if (unfinished) {
            /* What NEEDS_CSUM asks for: the sum from csum_start on, complemented, into its place. */
            EQUAL(word(frame - 6), tcp << 8);
            uint32_t sum = inet_sum(0, at(frame + tcp), 32 + sizes[n]) ^ 0xffff;
            *at(frame + tcp + 16) = (uint8_t)(sum >> 8);
            *at(frame + tcp + 17) = (uint8_t)sum;
        }
        EQUAL(tcp_sum(frame, 32 + sizes[n]), 0xffff);
    }
}

CASE(a_segmented_frame_is_cut_up_for_a_guest_that_takes_none)
{
    check_segments(false);
    check_segments(true);
}

CASE(segments_wait_for_buffers_and_none_is_lost_or_doubled)
{
    struct netq_frame back;
    start(0);
    give_buffers(1, 2048);
    arrive(segmented(1000));
    virtio_net_run(&net);
    EQUAL(used_index(VIRTIO_NET_RX), 1);
    CHECK(!netq_look(&rx_done, &back));
    CHECK(waits());
    give_buffers(1, 2048);
    virtio_net_run(&net);
    EQUAL(used_index(VIRTIO_NET_RX), 2);
    EQUAL(word(DATA + 12 + 38) << 16 | word(DATA + 12 + 40), 0xffffff00u + 500);
    CHECK(netq_look(&rx_done, &back));
    /* A guest that never gives another buffer loses the rest, and the next frame starts at its beginning. */
    netq_take(&rx_done);
    give_buffers(1, 2048);
    arrive(segmented(1000));
    virtio_net_run(&net);
    virtio_net_give_up(&net);
    virtio_net_run(&net);
    CHECK(netq_look(&rx_done, &back));
    EQUAL(net.counters.rx_dropped, 1);
    give_buffers(2, 2048);
    arrive(segmented(1000));
    virtio_net_run(&net);
    EQUAL(used_index(VIRTIO_NET_RX), 5);
}

CASE(a_segmented_frame_that_is_no_tcp_is_refused_and_counted)
{
    start(F_GUEST_CSUM);
    give_buffers(8, 2048);
    struct netq_frame frame, back;
    uint64_t refused = 0;
    /* Byte in the frame, value: no IP, IPv4 of another length, UDP, a fragment, a TCP header too short, too
     * long. */
    static const uint8_t spoilt[][2] = {{12, 9},    {14, 0x44}, {14, 0x46}, {23, 17},
                                        {20, 0x20}, {46, 0x40}, {46, 0xf0}};
    for (uint32_t i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
        frame = segmented(i == 6 ? 20 : 1000);
        other_pool[spoilt[i][0]] = spoilt[i][1];
        arrive(frame);
        virtio_net_run(&net);
        EQUAL(net.counters.rx_refused, ++refused);
    }
    frame = segmented(1000);
    frame.gso_size = 0;
    arrive(frame);
    frame = segmented(1000);
    frame.gso_size = 1449; /* longer than the MTU with 66 bytes of headers before it */
    arrive(frame);
    frame = segmented(1000);
    frame.length = 60; /* ends within the headers */
    arrive(frame);
    virtio_net_run(&net);
    EQUAL(net.counters.rx_refused, refused + 3);
    EQUAL(used_index(VIRTIO_NET_RX), 0);
    EQUAL(net.counters.rx_segmented, 0);
    CHECK(netq_look(&rx_done, &back));
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(a_segmented_frame_is_cut_up_for_a_guest_that_takes_none),
    NAMED(segments_wait_for_buffers_and_none_is_lost_or_doubled),
    NAMED(a_segmented_frame_that_is_no_tcp_is_refused_and_counted),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
