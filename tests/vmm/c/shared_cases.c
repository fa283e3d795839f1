/* SPDX-License-Identifier: BSD-2-Clause */

/* The rings between domains, and the switch around them. */
#include "case.h"
#include "netq.h"
#include "three_ports.h"

static struct netq_pool pool;

CASE(pieces_of_a_pool_never_overlap_and_all_come_back)
{
    static uint8_t owner[NETQ_MIN_POOL_BYTES];
    struct {
        uint32_t offset, length;
        uint16_t ticket;
    } out[NETQ_ENTRIES];
    uint32_t count = 0, seed = 1, taken = 0;
    memset(owner, 0, sizeof(owner));
    netq_pool_init(&pool, sizeof(owner));
    for (uint32_t step = 0; step < 200000; step++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t length = (seed >> 8) % 3 == 0 ? 1 + (seed >> 12) % NETQ_FRAME_MAX : 60 + (seed >> 12) % 1500;
        if ((seed >> 28) < 9 && netq_pool_take(&pool, length, &out[count].offset, &out[count].ticket)) {
            out[count].length = length;
            for (uint32_t i = 0; i < length; i++) {
                CHECK(owner[out[count].offset + i] == 0);
            }
            memset(owner + out[count].offset, 1, length);
            count++;
            taken++;
        } else if (count > 0) {
            uint32_t pick = (seed >> 4) % count;
            memset(owner + out[pick].offset, 0, out[pick].length);
            CHECK(netq_pool_give(&pool, out[pick].ticket));
            CHECK(!netq_pool_give(&pool, out[pick].ticket));
            out[pick] = out[--count];
        }
    }
    CHECK(taken > 1000);
    while (count > 0) {
        CHECK(netq_pool_give(&pool, out[--count].ticket));
    }
    EQUAL(pool.count, 0);
}

CASE(a_pool_refuses_what_cannot_fit)
{
    uint32_t offset;
    uint16_t ticket;
    netq_pool_init(&pool, 4096);
    CHECK(!netq_pool_take(&pool, 0, &offset, &ticket));
    CHECK(!netq_pool_take(&pool, 4097, &offset, &ticket));
    CHECK(!netq_pool_take(&pool, 0xffffffff, &offset, &ticket));
    CHECK(netq_pool_take(&pool, 4096, &offset, &ticket));
    CHECK(!netq_pool_take(&pool, 1, &offset, &ticket));
}

CASE(the_least_pool_always_has_room_for_the_largest_frame_once_it_is_empty)
{
    uint32_t offset;
    uint16_t ticket;
    netq_pool_init(&pool, NETQ_MIN_POOL_BYTES);
    for (uint32_t i = 0; i < 1000; i++) {
        CHECK(netq_pool_take(&pool, 60 + 97 * i % 5000, &offset, &ticket));
        CHECK(netq_pool_give(&pool, ticket));
        CHECK(netq_pool_take(&pool, NETQ_FRAME_MAX, &offset, &ticket));
        CHECK(netq_pool_give(&pool, ticket));
    }
}

static struct netq_ring ring;

CASE(a_ring_carries_every_entry_in_order)
{
    struct netq_end producer, consumer;
    struct netq_frame frame;
    uint32_t sent = 0, received = 0;
    memset(&ring, 0, sizeof(ring));
    netq_attach(&producer, &ring);
    netq_attach(&consumer, &ring);
    while (received < 1000) {
        while (netq_room(&producer) != 0 && sent < 1000) {
            netq_put(&producer, &(struct netq_frame){.length = sent++});
        }
        CHECK(!netq_look(&consumer, &frame) || received + NETQ_ENTRIES >= sent);
        netq_show(&producer);
        for (uint32_t i = 0; i < 100 && netq_look(&consumer, &frame); i++) {
            EQUAL(frame.length, received++);
            netq_take(&consumer);
        }
        netq_release(&consumer);
    }
}

CASE(only_a_sleeper_is_woken)
{
    struct netq_end producer, consumer;
    memset(&ring, 0, sizeof(ring));
    netq_attach(&producer, &ring);
    netq_attach(&consumer, &ring);
    netq_put(&producer, &(struct netq_frame){.length = 1});
    CHECK(!netq_show(&producer));
    CHECK(netq_sleep(&consumer)); /* there is one already */
    netq_put(&producer, &(struct netq_frame){.length = 2});
    CHECK(netq_show(&producer));
    netq_put(&producer, &(struct netq_frame){.length = 3});
    CHECK(!netq_show(&producer));
}

CASE(indices_that_make_no_sense_are_an_empty_ring)
{
    struct netq_end producer, consumer;
    struct netq_frame frame;
    memset(&ring, 0, sizeof(ring));
    netq_attach(&producer, &ring);
    netq_attach(&consumer, &ring);
    ring.head = NETQ_ENTRIES + 1;
    CHECK(!netq_look(&consumer, &frame));
    CHECK(!netq_sleep(&consumer));
    ring.tail = 5;
    EQUAL(netq_room(&producer), 0);
    EQUAL(producer.breaches + consumer.breaches, 2);
}

static struct netq_end tx[3], tx_done[3], rx[3], rx_done[3];

static void start_switch(void)
{
    memset(shared, 0, sizeof(shared));
    for (int p = 0; p < 3; p++) {
        netq_attach(&tx[p], &shared[p].tx);
        netq_attach(&tx_done[p], &shared[p].tx_done);
        netq_attach(&rx[p], &shared[p].rx);
        netq_attach(&rx_done[p], &shared[p].rx_done);
    }
    CHECK(forward_init(&forward, &config, wires, 1000000) == NULL);
}

static void submit(uint32_t offset, uint16_t ticket)
{
    netq_put(&tx[0], &(struct netq_frame){.offset = offset, .length = 60, .ticket = ticket, .owner = 2});
    netq_show(&tx[0]);
}

CASE(an_allowed_frame_is_passed_on_by_reference)
{
    struct netq_frame frame;
    start_switch();
    compose(0, 1);
    submit(0, 9);
    EQUAL(forward_run(&forward), 0); /* nobody sleeps */
    CHECK(netq_look(&rx[1], &frame));
    EQUAL(frame.owner, 0);
    EQUAL(frame.ticket, 9);
    CHECK(!netq_look(&rx[2], &frame));
    CHECK(!netq_look(&tx_done[0], &frame));
    netq_put(&rx_done[1], &(struct netq_frame){.owner = 0, .ticket = 9});
    netq_show(&rx_done[1]);
    forward_run(&forward);
    CHECK(netq_look(&tx_done[0], &frame));
    EQUAL(frame.ticket, 9);
}

CASE(a_forbidden_frame_goes_straight_back)
{
    struct netq_frame frame;
    start_switch();
    compose(0, 1);
    pools[0][37] = 8; /* UDP port 8 */
    submit(0, 1);
    forward_run(&forward);
    CHECK(netq_look(&tx_done[0], &frame));
    CHECK(!netq_look(&rx[1], &frame));
    EQUAL(forward.state.counters[0].drops[VSWITCH_NOT_ALLOWED], 1);
}

CASE(sleeping_ports_are_woken)
{
    start_switch();
    for (int p = 0; p < 3; p++) {
        netq_sleep(&rx[p]);
    }
    compose(0, 2);
    submit(0, 1);
    EQUAL(forward_run(&forward), 1u << 2);
    EQUAL(forward_run(&forward), 0);
}

CASE(the_switch_is_woken_for_returned_frames_only_when_somebody_waits_for_them)
{
    struct netq_frame frame;
    start_switch();
    compose(0, 1);
    for (uint16_t ticket = 0; ticket < 3; ticket++) {
        submit(0, ticket);
        forward_run(&forward);
        CHECK(netq_look(&rx[1], &frame));
        netq_take(&rx[1]);
        netq_put(&rx_done[1], &frame);
        if (ticket < 2) {
            CHECK(!netq_show(&rx_done[1]));
        }
    }
    for (uint16_t ticket = 0; ticket < 2; ticket++) {
        CHECK(netq_look(&tx_done[0], &frame));
        EQUAL(frame.ticket, ticket);
        netq_take(&tx_done[0]);
    }
    /* The sender has no more bytes, sleeps, and tells the switch so. */
    CHECK(!netq_sleep(&tx_done[0]));
    forward_run(&forward);
    CHECK(netq_show(&rx_done[1])); /* now the receiver wakes the switch */
    EQUAL(forward_run(&forward), 1);
    CHECK(netq_look(&tx_done[0], &frame));
    EQUAL(frame.ticket, 2);
}

CASE(a_pass_takes_a_ring_full_from_each_port_at_most_and_wakes_before_the_next)
{
    uint64_t wake;
    struct netq_frame frame;
    start_switch();
    CHECK(!netq_sleep(&rx[1]));
    compose(0, 1);
    for (uint16_t ticket = 0; ticket < NETQ_ENTRIES; ticket++) {
        submit(0, ticket);
    }
    CHECK(forward_pass(&forward, 0, &wake)); /* the sender may have more meanwhile */
    EQUAL(wake, 1u << 1);
    for (uint16_t ticket = 0; ticket < NETQ_ENTRIES; ticket++) {
        CHECK(netq_look(&rx[1], &frame));
        netq_take(&rx[1]);
    }
    CHECK(!forward_pass(&forward, 0, &wake));
    EQUAL(wake, 0);
}

CASE(lies_of_a_vmm_are_counted_and_touch_no_other_port)
{
    struct netq_frame frame;
    start_switch();
    compose(0, 1);
    submit(NETQ_MIN_POOL_BYTES - 10, 0); /* beyond its pool */
    submit(0xfffffff0, 1);
    submit(0, NETQ_ENTRIES); /* no such ticket */
    netq_put(&tx[0], &(struct netq_frame){.length = NETQ_FRAME_MAX + 1});
    netq_show(&tx[0]);
    submit(0, 4);
    submit(0, 4); /* the same ticket again while it is out */
    forward_run(&forward);
    EQUAL(forward.breaches[0], 5);
    netq_put(&rx_done[2], &(struct netq_frame){.owner = 0, .ticket = 4}); /* it never had that frame */
    netq_put(&rx_done[2], &(struct netq_frame){.owner = 60, .ticket = 4});
    netq_put(&rx_done[2], &(struct netq_frame){.owner = 0, .ticket = 60000});
    netq_show(&rx_done[2]);
    forward_run(&forward);
    EQUAL(forward.breaches[2], 3);
    CHECK(!netq_look(&tx_done[0], &frame));
    CHECK(netq_look(&rx[1], &frame));
}

CASE(a_full_receiver_loses_nothing_and_does_not_stop_other_senders)
{
    struct netq_frame frame;
    uint32_t sent = 0, received = 0, freed = 0;
    bool free_ticket[NETQ_ENTRIES];
    memset(free_ticket, 1, sizeof(free_ticket));
    start_switch();
    compose(0, 1);
    for (uint32_t round = 0; received < 1000; round++) {
        CHECK(round < 10000);
        for (uint16_t ticket = 0; ticket < NETQ_ENTRIES; ticket++) {
            if (free_ticket[ticket] && sent < 1000 && netq_room(&tx[0]) != 0) {
                free_ticket[ticket] = false;
                submit(0, ticket);
                sent++;
            }
        }
        forward_run(&forward);
        for (int i = 0; i < 7 && netq_look(&rx[1], &frame); i++) {
            netq_take(&rx[1]);
            netq_put(&rx_done[1], &frame);
            received++;
        }
        netq_release(&rx[1]);
        netq_show(&rx_done[1]);
        while (netq_look(&tx_done[0], &frame)) {
            netq_take(&tx_done[0]);
            free_ticket[frame.ticket] = true;
            freed++;
        }
        netq_release(&tx_done[0]);
    }
    forward_run(&forward);
    EQUAL(sent, 1000);
    EQUAL(forward.breaches[0] + forward.breaches[1], 0);
    CHECK(freed >= 1000 - NETQ_ENTRIES);
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(pieces_of_a_pool_never_overlap_and_all_come_back),
    NAMED(a_pool_refuses_what_cannot_fit),
    NAMED(the_least_pool_always_has_room_for_the_largest_frame_once_it_is_empty),
    NAMED(a_ring_carries_every_entry_in_order),
    NAMED(only_a_sleeper_is_woken),
    NAMED(indices_that_make_no_sense_are_an_empty_ring),
    NAMED(an_allowed_frame_is_passed_on_by_reference),
    NAMED(a_forbidden_frame_goes_straight_back),
    NAMED(sleeping_ports_are_woken),
    NAMED(the_switch_is_woken_for_returned_frames_only_when_somebody_waits_for_them),
    NAMED(a_pass_takes_a_ring_full_from_each_port_at_most_and_wakes_before_the_next),
    NAMED(lies_of_a_vmm_are_counted_and_touch_no_other_port),
    NAMED(a_full_receiver_loses_nothing_and_does_not_stop_other_senders),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
