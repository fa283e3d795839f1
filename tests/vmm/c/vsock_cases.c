/* SPDX-License-Identifier: BSD-2-Clause */

/* The vsock device on one port, with the test in the places of its guest's driver and of the switch. */
#include "driver.h"
#include "virtio_vsock.h"

#define SIZE 64
#define POOL NETQ_MIN_POOL_BYTES
#define SECOND 1000000u /* ticks of the tests' counter */
#define CID 4u
#define PEER 5u      /* the port from which packets come, */
#define PEER_CID 3u  /* and its context ID */
#define BUFFER 3776u /* bytes of Debian's receive buffers, each in one descriptor */
#define RX_DATA (DATA + 0x20000)

static struct virtio_vsock vsock;
static struct netq_port port;
static uint8_t pool[POOL], other_pool[POOL];
static struct netq_end tx, tx_done, rx, rx_done;

static bool run(void)
{
    virtio_vsock_send(&vsock);
    return virtio_vsock_finish(&vsock);
}

static void start_device(void)
{
    memset(&port, 0, sizeof(port));
    virtio_vsock_init(&vsock, &ram, CID, &port, pool, POOL, SECOND);
    vsock.source[PEER] = (struct virtio_vsock_source){other_pool, POOL, PEER_CID};
    netq_attach(&tx, &port.tx);
    netq_attach(&tx_done, &port.tx_done);
    netq_attach(&rx, &port.rx);
    netq_attach(&rx_done, &port.rx_done);
}

/* The next entry for the switch. */
static struct netq_frame next(void)
{
    struct netq_frame entry;
    CHECK(netq_look(&tx, &entry));
    netq_take(&tx);
    netq_release(&tx);
    return entry;
}

static bool is_link(struct netq_frame entry, enum netq_link link)
{
    return entry.length == 0 && entry.vsock.operation == link;
}

/* The device and its driver, and the switch has heard of them. */
static void start(void)
{
    start_device();
    bring_up(&vsock.dev, 0, SIZE);
    (void)run();
    CHECK(is_link(next(), NETQ_LINK_UP));
}

static void offer_buffers(uint16_t count, uint32_t bytes)
{
    for (uint16_t i = 0; i < count; i++) {
        describe(VIRTIO_VSOCK_RX, i, RX_DATA + (uint64_t)BUFFER * i, bytes, WRITE, 0);
        offer(VIRTIO_VSOCK_RX, SIZE, i);
    }
}

static void give_event_buffer(void)
{
    describe(VIRTIO_VSOCK_EVENT, 0, DATA, 4, WRITE, 0);
    offer(VIRTIO_VSOCK_EVENT, SIZE, 0);
}

/* A packet from the peer's port 3240 to our port 1024, as the switch hands it over. */
static struct netq_frame packet(uint8_t operation, uint32_t offset, uint32_t length)
{
    return (struct netq_frame){.offset = offset,
                               .length = length,
                               .owner = PEER,
                               .vsock = {.operation = operation,
                                         .type = VSOCK_STREAM,
                                         .source_port = 3240,
                                         .destination_port = 1024,
                                         .buf_alloc = 65536,
                                         .fwd_cnt = 7}};
}

static void hand(struct netq_frame entry)
{
    netq_put(&rx, &entry);
    netq_show(&rx);
}

/* What lies in the n-th receive buffer that the guest got back. */
static struct vsock_header received(uint16_t n)
{
    struct vsock_header header;
    uint16_t slot = (uint16_t)used_head(VIRTIO_VSOCK_RX, SIZE, n);
    vsock_read(&header, at(RX_DATA + (uint64_t)BUFFER * slot));
    EQUAL(used_length(VIRTIO_VSOCK_RX, SIZE, n), VSOCK_HEADER + header.length);
    return header;
}

/* Entries that came back to the switch. */
static uint32_t returned(void)
{
    struct netq_frame entry;
    uint32_t count = 0;
    while (netq_look(&rx_done, &entry)) {
        netq_take(&rx_done);
        count++;
    }
    netq_release(&rx_done);
    return count;
}

/* Time passes until the device loses patience. */
static void pass_patience(void)
{
    uint64_t due = virtio_vsock_deadline(&vsock, 0);
    CHECK(due != VIRTIO_VSOCK_NEVER);
    virtio_vsock_due(&vsock, due);
    (void)run();
}

CASE(a_vsock_device_says_its_context_id_and_has_three_queues)
{
    start();
    EQUAL(virtio_mmio_read(&vsock.dev, 0x008, 4), 19);
    EQUAL(virtio_mmio_read(&vsock.dev, 0x100, 4), CID);
    EQUAL(virtio_mmio_read(&vsock.dev, 0x104, 4), 0);
    EQUAL(vsock.dev.queues, 3);
}

CASE(a_packet_in_any_chain_reaches_the_switch_as_the_guest_made_it)
{
    start();
    for (uint32_t i = 0; i < 300; i++) {
        *at(DATA + i) = (uint8_t)(i * 7);
    }
    describe(VIRTIO_VSOCK_TX, 0, DATA, 43, NEXT, 1);
    describe(VIRTIO_VSOCK_TX, 1, DATA + 43, 2, NEXT, 2);
    describe(VIRTIO_VSOCK_TX, 2, DATA + 45, 255, 0, 0);
    offer(VIRTIO_VSOCK_TX, SIZE, 0);
    (void)run();
    struct netq_frame entry = next();
    EQUAL(entry.length, 300);
    CHECK(memcmp(pool + entry.offset, at(DATA), 300) == 0);
    EQUAL(used_index(VIRTIO_VSOCK_TX), 1);
}

CASE(of_a_packet_that_is_too_long_the_switch_gets_the_header_to_reset_its_connection)
{
    start();
    describe(VIRTIO_VSOCK_TX, 0, DATA, NETQ_PACKET_MAX, 0, 0);
    offer(VIRTIO_VSOCK_TX, SIZE, 0);
    describe(VIRTIO_VSOCK_TX, 1, DATA, NETQ_PACKET_MAX + 1, 0, 0);
    offer(VIRTIO_VSOCK_TX, SIZE, 1);
    (void)run();
    EQUAL(next().length, NETQ_PACKET_MAX);
    EQUAL(next().length, VSOCK_HEADER);
}

CASE(a_chain_without_a_packet_is_counted_and_dropped)
{
    struct netq_frame entry;
    start();
    describe(VIRTIO_VSOCK_TX, 0, DATA, VSOCK_HEADER - 1, 0, 0);
    offer(VIRTIO_VSOCK_TX, SIZE, 0);
    describe(VIRTIO_VSOCK_TX, 1, DATA, VSOCK_HEADER, NEXT, 2);
    describe(VIRTIO_VSOCK_TX, 2, DATA + 100, 10, WRITE, 0);
    offer(VIRTIO_VSOCK_TX, SIZE, 1);
    (void)run();
    EQUAL(vsock.counters.tx_malformed, 2);
    EQUAL(used_index(VIRTIO_VSOCK_TX), 2);
    CHECK(!netq_look(&tx, &entry));
}

CASE(a_full_pool_keeps_packets_in_the_guests_queue_until_the_switch_returns_one)
{
    start();
    for (uint16_t i = 0; i < 8; i++) {
        describe(VIRTIO_VSOCK_TX, i, DATA, NETQ_PACKET_MAX, 0, 0);
        offer(VIRTIO_VSOCK_TX, SIZE, i);
    }
    CHECK(run());
    uint16_t sent = used_index(VIRTIO_VSOCK_TX);
    CHECK(sent >= 2 && sent < 8);
    struct netq_frame first = next(), second = next();
    netq_put(&tx_done, &first);
    netq_put(&tx_done, &second); /* pieces never touch, so one more than fits */
    CHECK(netq_show(&tx_done));  /* the device waits for it */
    (void)run();
    CHECK(used_index(VIRTIO_VSOCK_TX) > sent);
}

CASE(the_switch_hears_that_the_device_stops_before_it_starts_again)
{
    struct netq_frame entry;
    start();
    virtio_device_reset(&vsock.dev);
    bring_up(&vsock.dev, 0, SIZE);
    (void)run();
    CHECK(is_link(next(), NETQ_LINK_DOWN));
    CHECK(is_link(next(), NETQ_LINK_UP));
    virtio_device_reset(&vsock.dev);
    (void)run();
    CHECK(is_link(next(), NETQ_LINK_DOWN));
    (void)run();
    CHECK(!netq_look(&tx, &entry));
}

CASE(what_comes_for_a_guest_without_a_driver_goes_back_at_once)
{
    start();
    virtio_device_reset(&vsock.dev);
    hand(packet(VSOCK_RW, 0, 1000));
    (void)run();
    EQUAL(returned(), 1);
    EQUAL(vsock.counters.rx_dropped, 1);
}

CASE(a_payload_is_cut_to_the_guests_buffers_each_with_a_header_of_its_own)
{
    start();
    offer_buffers(4, BUFFER);
    for (uint32_t i = 0; i < 10000; i++) {
        other_pool[64 + i] = (uint8_t)(i * 11 + (i >> 8));
    }
    hand(packet(VSOCK_RW, 64, 10000));
    (void)run();
    EQUAL(used_index(VIRTIO_VSOCK_RX), 3);
    uint32_t done = 0;
    for (uint16_t n = 0; n < 3; n++) {
        struct vsock_header header = received(n);
        EQUAL(header.source_cid, PEER_CID);
        EQUAL(header.destination_cid, CID);
        EQUAL(header.source_port, 3240);
        EQUAL(header.destination_port, 1024);
        EQUAL(header.operation, VSOCK_RW);
        EQUAL(header.type, VSOCK_STREAM);
        EQUAL(header.buf_alloc, 65536);
        EQUAL(header.fwd_cnt, 7);
        EQUAL(header.length, n < 2 ? BUFFER - VSOCK_HEADER : 10000 - 2 * (BUFFER - VSOCK_HEADER));
        CHECK(memcmp(at(RX_DATA + (uint64_t)BUFFER * n + VSOCK_HEADER), other_pool + 64 + done,
                     header.length) == 0);
        done += header.length;
    }
    EQUAL(returned(), 1);
}

CASE(many_small_packets_of_one_connection_share_a_buffer_and_no_other_packet_does)
{
    struct netq_frame newer = packet(VSOCK_RW, 100, 48), other = packet(VSOCK_RW, 200, 48);
    start();
    offer_buffers(8, BUFFER);
    newer.vsock.fwd_cnt = 9;
    other.vsock.destination_port = 1025;
    hand(packet(VSOCK_RW, 0, 48));
    hand(newer);
    hand(other);
    hand(packet(VSOCK_RW, 0, 48));
    hand(packet(VSOCK_CREDIT_UPDATE, 0, 0));
    hand(packet(VSOCK_RW, 0, 48));
    (void)run();
    EQUAL(used_index(VIRTIO_VSOCK_RX), 5);
    EQUAL(received(0).length, 96);
    EQUAL(received(0).fwd_cnt, 9); /* what its receiver may still send is the newest */
    EQUAL(received(1).destination_port, 1025);
    EQUAL(received(2).length, 48);
    EQUAL(received(3).operation, VSOCK_CREDIT_UPDATE);
    EQUAL(received(4).length, 48);
    EQUAL(returned(), 6);
}

CASE(a_packet_waits_for_buffers_and_goes_on_where_it_was)
{
    start();
    offer_buffers(1, BUFFER);
    for (uint32_t i = 0; i < 5000; i++) {
        other_pool[i] = (uint8_t)(i * 5);
    }
    hand(packet(VSOCK_RW, 0, 5000));
    (void)run();
    EQUAL(used_index(VIRTIO_VSOCK_RX), 1);
    EQUAL(returned(), 0);
    describe(VIRTIO_VSOCK_RX, 1, RX_DATA + BUFFER, BUFFER, WRITE, 0);
    offer(VIRTIO_VSOCK_RX, SIZE, 1);
    (void)run();
    EQUAL(received(1).length, 5000 - (BUFFER - VSOCK_HEADER));
    CHECK(*at(RX_DATA + BUFFER + VSOCK_HEADER) == (uint8_t)((BUFFER - VSOCK_HEADER) * 5));
    EQUAL(returned(), 1);
}

CASE(a_guest_that_gives_no_buffers_loses_its_connections_and_hears_so_when_it_is_back)
{
    struct netq_frame entry;
    start();
    give_event_buffer();
    hand(packet(VSOCK_RW, 0, 5000));
    (void)run();
    EQUAL(returned(), 0);
    pass_patience();
    CHECK(is_link(next(), NETQ_LINK_DOWN));
    EQUAL(returned(), 1);
    EQUAL(vsock.counters.resets, 1);
    EQUAL(used_index(VIRTIO_VSOCK_EVENT), 0);
    hand(packet(VSOCK_RW, 0, 5000)); /* sent before the switch knew */
    (void)run();
    EQUAL(returned(), 1);
    CHECK(!netq_look(&tx, &entry));
    offer_buffers(2, BUFFER);
    (void)run();
    EQUAL(used_index(VIRTIO_VSOCK_EVENT), 1);
    EQUAL(get32(DATA), 0); /* TRANSPORT_RESET */
    CHECK(is_link(next(), NETQ_LINK_UP));
    hand(packet(VSOCK_REQUEST, 0, 0));
    (void)run();
    EQUAL(received(0).operation, VSOCK_REQUEST);
}

CASE(without_an_event_buffer_a_guest_that_was_reset_stays_away)
{
    struct netq_frame entry;
    start();
    hand(packet(VSOCK_RW, 0, 100));
    (void)run();
    pass_patience();
    CHECK(is_link(next(), NETQ_LINK_DOWN));
    offer_buffers(2, BUFFER);
    (void)run();
    CHECK(!netq_look(&tx, &entry));
    give_event_buffer();
    (void)run();
    CHECK(is_link(next(), NETQ_LINK_UP));
}

CASE(a_guest_that_takes_its_packets_never_loses_patience)
{
    start();
    offer_buffers(2, BUFFER);
    hand(packet(VSOCK_RW, 0, 100));
    (void)run();
    EQUAL(virtio_vsock_deadline(&vsock, 5), VIRTIO_VSOCK_NEVER);
}

CASE(a_guest_that_gives_one_buffer_of_one_byte_each_millisecond_loses_its_connections_too)
{
    start();
    hand(packet(VSOCK_RW, 0, VSOCK_MAX_PAYLOAD));
    for (uint64_t now = 0; now < 2 * SECOND && vsock.counters.resets == 0; now += SECOND / 1000) {
        uint16_t slot = (uint16_t)(now / (SECOND / 1000) % SIZE);
        describe(VIRTIO_VSOCK_RX, slot, RX_DATA, VSOCK_HEADER + 1, WRITE, 0);
        offer(VIRTIO_VSOCK_RX, SIZE, slot);
        (void)run();
        if (virtio_vsock_deadline(&vsock, now) <= now) {
            virtio_vsock_due(&vsock, now);
        }
    }
    CHECK(vsock.counters.rx_packets > 1000);
    EQUAL(vsock.counters.resets, 1);
}

CASE(the_switch_hears_at_once_of_a_queue_that_breaks)
{
    start();
    describe(VIRTIO_VSOCK_TX, 0, RAM_BASE + RAM_BYTES, VSOCK_HEADER, 0, 0);
    offer(VIRTIO_VSOCK_TX, SIZE, 0);
    (void)run();
    CHECK(vsock.dev.status & VIRTIO_NEEDS_RESET);
    CHECK(is_link(next(), NETQ_LINK_DOWN));
}

CASE(a_ring_full_of_starts_and_stops_goes_on_when_the_switch_takes_one)
{
    start();
    for (uint32_t i = 0; i < NETQ_ENTRIES; i++) {
        virtio_device_reset(&vsock.dev);
        (void)run();
        bring_up(&vsock.dev, 0, SIZE);
        (void)run();
    }
    EQUAL(netq_room(&vsock.tx), 0);
    netq_take(&tx);
    CHECK(netq_release(&tx)); /* the device waits for it */
    (void)run();
    EQUAL(netq_room(&vsock.tx), 0);
}

CASE(a_reset_of_the_switchs_own_names_the_other_end)
{
    struct netq_frame entry = packet(VSOCK_RST, 99, 0);
    start();
    offer_buffers(1, BUFFER);
    entry.owner = NETQ_SWITCH;
    hand(entry);
    (void)run();
    EQUAL(received(0).operation, VSOCK_RST);
    EQUAL(received(0).source_cid, 99);
    EQUAL(returned(), 1);
}

CASE(entries_that_lie_outside_what_this_port_may_read_are_not_delivered)
{
    struct netq_frame entry = packet(VSOCK_RW, 0, 100);
    start();
    offer_buffers(8, BUFFER);
    hand(packet(VSOCK_RW, POOL - 99, 100));
    hand(packet(VSOCK_RW, POOL + 1, 1));
    hand(packet(VSOCK_RW, 0, VSOCK_MAX_PAYLOAD + 1));
    entry.owner = PEER + 1; /* a port that may not send to this one */
    hand(entry);
    entry.owner = VIRTIO_VSOCK_MAX_PORTS;
    hand(entry);
    entry.owner = NETQ_SWITCH; /* it has no payload */
    hand(entry);
    (void)run();
    EQUAL(vsock.counters.peer_errors, 6);
    EQUAL(used_index(VIRTIO_VSOCK_RX), 0);
    EQUAL(returned(), 6);
}

CASE(a_receive_buffer_without_room_for_payload_breaks_the_device_and_a_reset_mends_it)
{
    start();
    offer_buffers(1, VSOCK_HEADER);
    hand(packet(VSOCK_RW, 0, 100));
    (void)run();
    CHECK(vsock.dev.status & VIRTIO_NEEDS_RESET);
    CHECK(is_link(next(), NETQ_LINK_DOWN));
    EQUAL(returned(), 1);
    virtio_device_reset(&vsock.dev);
    bring_up(&vsock.dev, 0, SIZE);
    (void)run();
    CHECK(is_link(next(), NETQ_LINK_UP));
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }

int main(int argc, char **argv)
{
    static const struct test_case listed[] = {
        NAMED(a_vsock_device_says_its_context_id_and_has_three_queues),
        NAMED(a_packet_in_any_chain_reaches_the_switch_as_the_guest_made_it),
        NAMED(of_a_packet_that_is_too_long_the_switch_gets_the_header_to_reset_its_connection),
        NAMED(a_chain_without_a_packet_is_counted_and_dropped),
        NAMED(a_full_pool_keeps_packets_in_the_guests_queue_until_the_switch_returns_one),
        NAMED(the_switch_hears_that_the_device_stops_before_it_starts_again),
        NAMED(what_comes_for_a_guest_without_a_driver_goes_back_at_once),
        NAMED(a_payload_is_cut_to_the_guests_buffers_each_with_a_header_of_its_own),
        NAMED(many_small_packets_of_one_connection_share_a_buffer_and_no_other_packet_does),
        NAMED(a_packet_waits_for_buffers_and_goes_on_where_it_was),
        NAMED(a_guest_that_gives_no_buffers_loses_its_connections_and_hears_so_when_it_is_back),
        NAMED(without_an_event_buffer_a_guest_that_was_reset_stays_away),
        NAMED(a_guest_that_takes_its_packets_never_loses_patience),
        NAMED(a_guest_that_gives_one_buffer_of_one_byte_each_millisecond_loses_its_connections_too),
        NAMED(the_switch_hears_at_once_of_a_queue_that_breaks),
        NAMED(a_ring_full_of_starts_and_stops_goes_on_when_the_switch_takes_one),
        NAMED(a_reset_of_the_switchs_own_names_the_other_end),
        NAMED(entries_that_lie_outside_what_this_port_may_read_are_not_delivered),
        NAMED(a_receive_buffer_without_room_for_payload_breaks_the_device_and_a_reset_mends_it),
        {NULL, NULL}};
    return run_case(listed, argc, argv);
}
