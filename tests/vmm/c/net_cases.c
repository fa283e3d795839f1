/* SPDX-License-Identifier: BSD-2-Clause */
#include "forward.h"
#include "net_port.h"

CASE(a_frame_reaches_the_switch_once_and_its_buffer_comes_back)
{
    struct netq_frame frame;
    start(0);
    send(0, plain, 60);
    (void)virtio_net_run(&net);
    CHECK(netq_look(&tx, &frame));
    EQUAL(frame.length, 60);
    CHECK(memcmp(pool + frame.offset, at(DATA + 12), 60) == 0);
    netq_take(&tx);
    CHECK(!netq_look(&tx, &frame));
    EQUAL(used_index(VIRTIO_NET_TX), 1);
}

CASE(the_switch_is_notified_only_while_it_sleeps)
{
    start(0);
    CHECK(!netq_sleep(&tx));
    send(0, plain, 60);
    CHECK(virtio_net_run(&net));
    send(1, plain, 60);
    CHECK(!virtio_net_run(&net));
}

CASE(impossible_transmissions_are_counted_and_dropped)
{
    static const uint8_t no_such_flag[12] = {0x80};
    static const uint8_t checksum_not_negotiated[12] = {1, 0, 0, 0, 0, 0, 14};
    static const uint8_t segments_not_negotiated[12] = {1, 1, 0, 0, 100, 0, 14};
    struct netq_frame frame;
    start(0);
    send(0, plain, 0);
    send(1, plain, 13);
    send(2, no_such_flag, 60);
    send(3, checksum_not_negotiated, 60);
    send(4, segments_not_negotiated, 60);
    describe(VIRTIO_NET_TX, 5, DATA, 100, WRITE, 0);
    offer(VIRTIO_NET_TX, SIZE, 5);
    describe(VIRTIO_NET_TX, 6, DATA, NETQ_FRAME_MAX + 13, 0, 0);
    offer(VIRTIO_NET_TX, SIZE, 6);
    virtio_net_run(&net);
    EQUAL(net.counters.tx_malformed, 7);
    EQUAL(used_index(VIRTIO_NET_TX), 7);
    CHECK(!netq_look(&tx, &frame));
}

CASE(segmentation_of_tcp_over_ipv6_is_not_offered)
{
    static const uint8_t header[12] = {1, 4, 74, 0, 100, 0, 54, 0, 16, 0};
    start(0);
    EQUAL(net.dev.offered & (1ULL << 8 | 1ULL << 12), 0); /* GUEST_TSO6, HOST_TSO6 */
    start(F_CSUM | F_HOST_TSO4);
    send(0, header, 600);
    virtio_net_run(&net);
    EQUAL(net.counters.tx_malformed, 1);
}

CASE(a_checksum_request_must_lie_within_the_frame)
{
    struct netq_frame frame;
    uint8_t header[12] = {1, 0, 0, 0, 0, 0, 34, 0, 24, 0};
    start(F_CSUM);
    send(0, header, 60); /* the field ends exactly at 34 + 24 + 2 */
    send(1, header, 59);
    header[6] = 13; /* within the Ethernet header */
    send(2, header, 60);
    virtio_net_run(&net);
    EQUAL(net.counters.tx_malformed, 2);
    CHECK(netq_look(&tx, &frame));
    EQUAL(frame.csum_start, 34);
    EQUAL(frame.flags, 1);
}

CASE(frames_above_the_mtu_are_refused_and_counted)
{
    start(0);
    send(0, plain, 14 + 1500);
    virtio_net_run(&net);
    EQUAL(net.counters.tx_oversize, 0);
    send(1, plain, 14 + 1501);
    virtio_net_run(&net);
    EQUAL(net.counters.tx_oversize, 1);
    EQUAL(net.counters.tx_frames, 1);
}

CASE(a_segmented_frame_of_64_kib_passes_in_both_directions)
{
    static const uint8_t header[12] = {1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0};
    struct netq_frame frame;
    uint32_t length = 14 + 65535;
    start(F_CSUM | F_GUEST_CSUM | F_HOST_TSO4 | F_GUEST_TSO4 | F_MRG);
    memcpy(at(DATA), header, 12);
    memset(at(DATA + 12), 0x5a, length);
    describe(VIRTIO_NET_TX, 0, DATA, 12, NEXT, 1);
    describe(VIRTIO_NET_TX, 1, DATA + 12, length, 0, 0);
    offer(VIRTIO_NET_TX, SIZE, 0);
    virtio_net_run(&net);
    CHECK(netq_look(&tx, &frame));
    EQUAL(frame.length, length);
    EQUAL(frame.gso_size, 0x5b4);
    memcpy(other_pool, pool + frame.offset, length);
    frame.offset = 0;
    give_buffers(50, 1536);
    arrive(frame);
    virtio_net_run(&net);
    EQUAL(used_index(VIRTIO_NET_RX), 43); /* (12 + 65549) / 1536 */
    EQUAL(get16(DATA + 10), 43);          /* num_buffers */
    EQUAL(*at(DATA + 1), 1);
    EQUAL(net.counters.rx_frames, 1);
    CHECK(memcmp(at(DATA + 12), other_pool, length) == 0);
}

CASE(a_checksum_is_finished_for_a_guest_that_wants_none_unfinished)
{
    start(0);
    give_buffers(1, 2048);
    memset(other_pool, 0, 64);
    /* Two words 0x1234 and 0x4321 from byte 34 on, the sum's place after them: its complement is ~0x5555. */
    memcpy(other_pool + 34, "\x12\x34\x43\x21", 4);
    arrive((struct netq_frame){.length = 64, .flags = 1, .csum_start = 34, .csum_offset = 6});
    virtio_net_run(&net);
    EQUAL(*at(DATA), 0); /* no flag: nothing is left to do */
    EQUAL(*at(DATA + 12 + 40), 0xaa);
    EQUAL(*at(DATA + 12 + 41), 0xaa);
}

CASE(a_checksum_is_finished_in_whichever_buffers_its_place_is)
{
    /* Buffers that follow one another: up to byte 29 of the frame in the first one, or up to half of the sum.
     */
    static const uint32_t sizes[] = {41, 53};
    for (uint32_t i = 0; i < 2; i++) {
        start(F_MRG);
        give_buffers(2, sizes[i]);
        memset(other_pool, 0, 64);
        memset(at(DATA), 0xee, 128);
        memcpy(other_pool + 34, "\x12\x34\x43\x21", 4);
        arrive((struct netq_frame){.length = 64, .flags = 1, .csum_start = 34, .csum_offset = 6});
        virtio_net_run(&net);
        EQUAL(get16(DATA + 10), 2);
        EQUAL(*at(DATA), 0);
        EQUAL(get16(DATA + 12 + 40), 0xaaaa);
        EQUAL(*at(DATA + 12 + 39), 0);
        EQUAL(*at(DATA + 12 + 42), 0);
    }
}

CASE(a_finished_checksum_is_never_zero)
{
    start(0);
    give_buffers(1, 2048);
    memset(other_pool, 0, 64);
    memcpy(other_pool + 34, "\x12\x34\xed\xcb", 4); /* their sum is 0xffff, its complement 0 */
    arrive((struct netq_frame){.length = 64, .flags = 1, .csum_start = 34, .csum_offset = 6});
    virtio_net_run(&net);
    EQUAL(get16(DATA + 12 + 40), 0xffff); /* 0 would say that the datagram has none (RFC 768) */
}

CASE(a_checksum_is_written_nowhere_but_into_a_tcp_or_udp_header)
{
    static const uint16_t places[][2] = {{34, 2},  {36, 0}, {34, 4},       {26, 0},
                                         {14, 36}, {0, 0},  {65535, 65535}};
    start(0);
    give_buffers(8, 2048);
    for (uint32_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        arrive((struct netq_frame){
            .length = 64, .flags = 1, .csum_start = places[i][0], .csum_offset = places[i][1]});
    }
    arrive((struct netq_frame){.length = 51, .flags = 1, .csum_start = 34, .csum_offset = 16});
    arrive((struct netq_frame){.length = 64, .flags = 3, .csum_start = 34, .csum_offset = 16});
    arrive((struct netq_frame){.length = 64, .gso_type = 1, .gso_size = 8});
    arrive((struct netq_frame){
        .length = 64, .flags = 1, .gso_type = 4, .gso_size = 8, .csum_start = 34, .csum_offset = 16});
    virtio_net_run(&net);
    EQUAL(net.counters.peer_errors, 11);
    EQUAL(used_index(VIRTIO_NET_RX), 0);
}

CASE(a_guest_that_takes_no_unfinished_checksums_gets_no_segmented_frame_either)
{
    start(F_GUEST_TSO4); /* without GUEST_CSUM, which it depends on */
    give_buffers(1, 2048);
    memset(other_pool, 0, 2000);
    arrive((struct netq_frame){
        .length = 1900, .flags = 1, .gso_type = 1, .gso_size = 100, .csum_start = 34, .csum_offset = 16});
    virtio_net_run(&net);
    EQUAL(net.counters.rx_refused, 1); /* it is cut up, and this one is not TCP */
    EQUAL(used_index(VIRTIO_NET_RX), 0);
}

CASE(a_frame_waits_for_buffers_and_is_not_lost)
{
    struct netq_frame back;
    start(0);
    memcpy(other_pool, "abcdefghijklmnopqrstuvwxyz", 26);
    arrive((struct netq_frame){.length = 26});
    virtio_net_run(&net);
    CHECK(waits());
    CHECK(!netq_look(&rx_done, &back));
    give_buffers(1, 2048);
    virtio_net_run(&net);
    CHECK(!waits());
    EQUAL(used_length(VIRTIO_NET_RX, SIZE, 0), 12 + 26);
    CHECK(memcmp(at(DATA + 12), other_pool, 26) == 0);
    CHECK(netq_look(&rx_done, &back));
}

CASE(a_frame_that_needs_several_buffers_waits_for_all_of_them)
{
    start(F_MRG | VIRTIO_F_EVENT_IDX);
    arrive((struct netq_frame){.length = 5000});
    give_buffers(2, 2048);
    virtio_net_run(&net);
    CHECK(waits());
    EQUAL(used_index(VIRTIO_NET_RX), 0);
    EQUAL(get16(used_of(VIRTIO_NET_RX) + 4 + 8 * SIZE), 2); /* rings for the third buffer */
    describe(VIRTIO_NET_RX, 2, DATA + 0x2000, 2048, WRITE, 0);
    offer(VIRTIO_NET_RX, SIZE, 2);
    virtio_net_run(&net);
    EQUAL(used_index(VIRTIO_NET_RX), 3);
    EQUAL(get16(DATA + 10), 3);
}

CASE(a_guest_that_gives_no_buffers_loses_frames_once_it_is_given_up)
{
    start(0);
    for (int i = 0; i < 10; i++) {
        arrive((struct netq_frame){.length = 60});
    }
    virtio_net_run(&net);
    virtio_net_give_up(&net);
    virtio_net_run(&net);
    EQUAL(net.counters.rx_dropped, 10);
    CHECK(!waits());
    give_buffers(2, 2048);
    arrive((struct netq_frame){.length = 60});
    virtio_net_run(&net);
    EQUAL(net.counters.rx_frames, 1);
    arrive((struct netq_frame){.length = 60});
    arrive((struct netq_frame){.length = 60});
    virtio_net_run(&net);
    CHECK(waits()); /* it gave buffers: it is waited for again */
}

CASE(frames_for_a_guest_whose_driver_is_not_up_are_dropped)
{
    struct netq_frame back;
    start(0);
    virtio_device_reset(&net.dev);
    arrive((struct netq_frame){.length = 60});
    virtio_net_run(&net);
    EQUAL(net.counters.rx_dropped, 1);
    CHECK(netq_look(&rx_done, &back));
}

CASE(impossible_entries_from_the_switch_are_counted_and_returned)
{
    start(0);
    give_buffers(8, 2048);
    arrive((struct netq_frame){.offset = POOL - 10, .length = 60});
    arrive((struct netq_frame){.offset = 0xffffffff, .length = 60});
    arrive((struct netq_frame){.length = 5});
    arrive((struct netq_frame){.length = NETQ_FRAME_MAX + 1});
    arrive((struct netq_frame){.length = 60, .flags = 1, .csum_start = 60, .csum_offset = 0});
    struct netq_frame stranger = {.length = 60, .owner = 6};
    netq_put(&rx, &stranger);
    stranger.owner = 0xffff;
    netq_put(&rx, &stranger);
    netq_show(&rx);
    virtio_net_run(&net);
    EQUAL(net.counters.peer_errors, 7);
    EQUAL(used_index(VIRTIO_NET_RX), 0);
}

CASE(a_ticket_that_is_not_out_cannot_be_returned)
{
    start(0);
    netq_put(&tx_done, &(struct netq_frame){.ticket = 3});
    netq_put(&tx_done, &(struct netq_frame){.ticket = 60000});
    netq_show(&tx_done);
    virtio_net_run(&net);
    EQUAL(net.counters.peer_errors, 2);
}

CASE(when_the_pool_is_full_frames_wait_in_the_guests_queue)
{
    static const uint8_t header[12] = {1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0};
    struct netq_frame frame;
    uint32_t length = 14 + 60000, sent = 0;
    start(F_CSUM | F_HOST_TSO4);
    memcpy(at(DATA), header, 12);
    for (uint16_t i = 0; i < 10; i++) {
        describe(VIRTIO_NET_TX, i, DATA, 12 + length, 0, 0);
        offer(VIRTIO_NET_TX, SIZE, i);
    }
    for (int rounds = 0; rounds < 20 && sent < 10; rounds++) {
        virtio_net_run(&net);
        CHECK(used_index(VIRTIO_NET_TX) <= sent + POOL / length);
        while (netq_look(&tx, &frame)) {
            netq_take(&tx);
            netq_put(&tx_done, &frame);
            sent++;
        }
        netq_release(&tx);
        CHECK(netq_show(&tx_done) || sent == 10);
    }
    EQUAL(sent, 10);
    EQUAL(net.counters.tx_malformed, 0);
}

CASE(a_broken_queue_asks_for_a_reset_and_nothing_else_stops)
{
    start(0);
    describe(VIRTIO_NET_TX, 0, 0xdead0000, 60, 0, 0);
    offer(VIRTIO_NET_TX, SIZE, 0);
    virtio_net_run(&net);
    CHECK(virtio_mmio_read(&net.dev, 0x70, 4) & VIRTIO_NEEDS_RESET);
    EQUAL(virtio_mmio_read(&net.dev, 0x60, 4) & 2, 2);
    EQUAL(net.dev.breaches, 1);
    bring_up(&net.dev, 0, SIZE);
    send(0, plain, 60);
    virtio_net_run(&net);
    EQUAL(net.counters.tx_frames, 1);
}

/* Whether the guest is to ring for its next frame: the flag in the used ring of a driver without event
 * indices. */
static bool rings(void)
{
    return (get16(used_of(VIRTIO_NET_TX)) & 1) == 0;
}

/* One run at `now` that took `took` ticks; when the device wants to be called again. */
static uint64_t run(uint64_t now, uint64_t took)
{
    virtio_net_run(&net);
    virtio_net_took(&net, took);
    return virtio_net_deadline(&net, now);
}

CASE(who_sends_need_not_ring_again_and_hears_of_it_when_it_pauses)
{
    struct netq_frame frame;
    start(0);
    EQUAL(run(0, 0), VIRTIO_NET_NEVER);
    CHECK(rings() && !virtio_line(&net.dev));
    send(0, plain, 60);
    CHECK(!virtio_net_pending(&net)); /* this one it has to ring for */
    uint64_t due = run(100, 8);
    CHECK(!rings() && !virtio_line(&net.dev));
    EQUAL(used_index(VIRTIO_NET_TX), 1);
    CHECK(due > 100 && due <= 100 + 128 * 8);
    send(1, plain, 60);
    CHECK(virtio_net_pending(&net));
    EQUAL(run(due - 1, 8) > due, true);
    CHECK(!virtio_net_pending(&net) && !rings() && !virtio_line(&net.dev));
    CHECK(netq_look(&tx, &frame));
    netq_take(&tx);
    CHECK(netq_look(&tx, &frame));
    due = virtio_net_deadline(&net, due - 1);
    virtio_net_due(&net, due - 1);
    CHECK(!virtio_line(&net.dev));
    virtio_net_due(&net, due);
    EQUAL(run(due, 8), VIRTIO_NET_NEVER);
    CHECK(rings() && virtio_line(&net.dev));
}

CASE(a_guest_hears_of_what_it_sent_with_what_it_receives)
{
    start(0);
    give_buffers(1, 2048);
    send(0, plain, 60);
    run(0, 8);
    CHECK(!virtio_line(&net.dev));
    arrive((struct netq_frame){.length = 60});
    run(1, 8);
    CHECK(virtio_line(&net.dev));
    EQUAL(net.tx_unsignalled, 0);
    virtio_mmio_write(&net.dev, 0x64, 4, 1);
    uint64_t due = run(2, 8);
    virtio_net_due(&net, due);
    run(due, 8);
    CHECK(!virtio_line(&net.dev)); /* once is enough */
}

CASE(a_guest_hears_of_a_quarter_of_its_queue_at_once)
{
    start(0);
    for (uint16_t i = 0; i < SIZE / 4; i++) {
        CHECK(!virtio_line(&net.dev));
        send(i, plain, 60);
        run(0, 8);
    }
    CHECK(virtio_line(&net.dev));
}

CASE(a_slow_run_adds_twenty_milliseconds_to_a_frame_at_most)
{
    start(0);
    for (uint16_t i = 0; i < SIZE; i++) {
        send(i, plain, 60);
        run(0, SECOND);
    }
    CHECK(virtio_net_deadline(&net, 0) <= SECOND / 50);
}

CASE(a_device_that_is_reset_waits_for_the_doorbell_again)
{
    start(0);
    send(0, plain, 60);
    run(0, 8);
    CHECK(!rings());
    bring_up(&net.dev, 0, SIZE);
    EQUAL(run(1, 8), VIRTIO_NET_NEVER);
    CHECK(rings() && !virtio_line(&net.dev));
}

CASE(the_switch_hears_of_a_guest_that_waits_for_the_bytes_of_its_frames)
{
    static const uint8_t header[12] = {1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0};
    struct netq_frame frame;
    start(F_CSUM | F_HOST_TSO4);
    memcpy(at(DATA), header, 12);
    for (uint16_t i = 0; i < 10; i++) {
        describe(VIRTIO_NET_TX, i, DATA, 12 + 14 + 60000, 0, 0);
        offer(VIRTIO_NET_TX, SIZE, i);
    }
    CHECK(virtio_net_run(&net)); /* though the switch does not sleep on a ring */
    CHECK(netq_awaited(&tx_done));
    while (netq_look(&tx, &frame)) {
        netq_take(&tx);
        netq_put(&tx_done, &frame);
    }
    CHECK(netq_show(&tx_done));
    CHECK(!netq_awaited(&tx_done));
}

CASE(the_configuration_space_holds_mac_and_mtu)
{
    start(0);
    EQUAL(virtio_mmio_read(&net.dev, 0x100, 1), 2);
    EQUAL(virtio_mmio_read(&net.dev, 0x105, 1), 2);
    EQUAL(virtio_mmio_read(&net.dev, 0x10a, 2), 1500);
    EQUAL(virtio_mmio_read(&net.dev, 0x1f8, 8), 0);
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(a_frame_reaches_the_switch_once_and_its_buffer_comes_back),
    NAMED(the_switch_is_notified_only_while_it_sleeps),
    NAMED(impossible_transmissions_are_counted_and_dropped),
    NAMED(segmentation_of_tcp_over_ipv6_is_not_offered),
    NAMED(a_checksum_request_must_lie_within_the_frame),
    NAMED(frames_above_the_mtu_are_refused_and_counted),
    NAMED(a_segmented_frame_of_64_kib_passes_in_both_directions),
    NAMED(a_checksum_is_finished_for_a_guest_that_wants_none_unfinished),
    NAMED(a_checksum_is_finished_in_whichever_buffers_its_place_is),
    NAMED(a_finished_checksum_is_never_zero),
    NAMED(a_checksum_is_written_nowhere_but_into_a_tcp_or_udp_header),
    NAMED(a_guest_that_takes_no_unfinished_checksums_gets_no_segmented_frame_either),
    NAMED(a_frame_waits_for_buffers_and_is_not_lost),
    NAMED(a_frame_that_needs_several_buffers_waits_for_all_of_them),
    NAMED(a_guest_that_gives_no_buffers_loses_frames_once_it_is_given_up),
    NAMED(frames_for_a_guest_whose_driver_is_not_up_are_dropped),
    NAMED(impossible_entries_from_the_switch_are_counted_and_returned),
    NAMED(a_ticket_that_is_not_out_cannot_be_returned),
    NAMED(when_the_pool_is_full_frames_wait_in_the_guests_queue),
    NAMED(a_broken_queue_asks_for_a_reset_and_nothing_else_stops),
    NAMED(who_sends_need_not_ring_again_and_hears_of_it_when_it_pauses),
    NAMED(a_guest_hears_of_what_it_sent_with_what_it_receives),
    NAMED(a_guest_hears_of_a_quarter_of_its_queue_at_once),
    NAMED(a_slow_run_adds_twenty_milliseconds_to_a_frame_at_most),
    NAMED(a_device_that_is_reset_waits_for_the_doorbell_again),
    NAMED(the_switch_hears_of_a_guest_that_waits_for_the_bytes_of_its_frames),
    NAMED(the_configuration_space_holds_mac_and_mtu),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
