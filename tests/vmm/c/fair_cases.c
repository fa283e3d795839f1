/* SPDX-License-Identifier: BSD-2-Clause */

/* What keeps one guest from taking time from the others: accounts, delays of restarts, patience with
 * receivers. */
#include "account.h"
#include "backoff.h"
#include "driver.h"
#include "three_ports.h"
#include "virtio_net.h"

#define SECOND 1000000u /* ticks of these tests' counter */
#define MS (SECOND / 1000)

CASE(an_account_is_paid_by_time_at_a_fraction_of_its_pace)
{
    struct account account;
    account_init(&account, 100, 4);
    EQUAL(account_left(&account, 1000), 100);
    account_charge(&account, 1000, 1040);
    EQUAL(account_left(&account, 1040), 60);
    EQUAL(account_due(&account, 0), 1040 + 160);
    EQUAL(account_left(&account, 1040 + 80), 80);
    EQUAL(account_left(&account, 1040 + 160), 100);
    EQUAL(account_left(&account, 1040 + 100000), 100);
}

CASE(an_account_is_paid_in_many_short_steps_as_in_one)
{
    struct account account;
    account_init(&account, 100, 10);
    account_charge(&account, 0, 50);
    for (uint64_t now = 50; now <= 550; now++) {
        account_left(&account, now);
    }
    EQUAL(account.owed, 0);
}

CASE(more_than_the_limit_at_once_is_not_charged_and_debt_has_an_end)
{
    struct account account;
    account_init(&account, 100, 4);
    account_charge(&account, 0, 1000000);
    EQUAL(account.owed, 100);
    EQUAL(account_left(&account, 1000000), 0);
    for (uint64_t now = 1000000; now < 1010000; now += 100) {
        account_charge(&account, now, now + 100);
    }
    CHECK(account.owed <= 200);
    account_charge(&account, 2000000, 1999999); /* a counter that seems to go back */
    CHECK(account.owed <= 200);
    account_credit(&account, 1000);
    EQUAL(account.owed, 0);
}

CASE(a_guest_that_ends_again_and_again_waits_longer_each_time)
{
    struct backoff backoff = {0};
    const uint32_t delays[9] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    for (int i = 0; i < 9; i++) {
        EQUAL(backoff_ended(&backoff, 3), delays[i]);
    }
    EQUAL(backoff_ended(&backoff, 59), 60);
    EQUAL(backoff_ended(&backoff, 60), 0); /* it lived for a minute */
    EQUAL(backoff_ended(&backoff, 0), 1);
    EQUAL(backoff_ended(&backoff, UINT64_MAX), 0);
}

/*
 * A sender (port 0) with as much as it can send for two receivers in turn. Port 1 has a whole device with a
 * guest that gives one buffer every so often, or none; port 2 takes all at once.
 */
static struct virtio_net lazy;

#define QUEUE_SIZE 64

struct outcome {
    uint32_t brisk;   /* frames that port 2 got */
    uint32_t longest; /* milliseconds that it was without any */
    uint32_t quiet;   /* milliseconds in which it got none */
};

/* `period`: milliseconds between two buffers of the lazy guest; 0: it gives none. */
static struct outcome simulate(uint32_t period, uint32_t milliseconds)
{
    struct outcome outcome = {0};
    struct netq_end tx, tx_done, rx, rx_done;
    struct netq_frame frame;
    uint32_t next = 0, since = 0;
    bool out[NETQ_ENTRIES] = {false};
    uint64_t deadline = VIRTIO_NET_NEVER;
    memset(shared, 0, sizeof(shared));
    netq_attach(&tx, &shared[0].tx);
    netq_attach(&tx_done, &shared[0].tx_done);
    netq_attach(&rx, &shared[2].rx);
    netq_attach(&rx_done, &shared[2].rx_done);
    CHECK(forward_init(&forward, &config, wires, 1000000) == NULL);
    virtio_net_init(&lazy, &ram, ports[1].mac, 1500, &shared[1], pools[1], NETQ_MIN_POOL_BYTES, SECOND);
    lazy.source[0] = (struct virtio_net_source){pools[0], NETQ_MIN_POOL_BYTES};
    bring_up(&lazy.dev, 0, QUEUE_SIZE);
    compose(0, 1);
    compose(64, 2);
    for (uint32_t ms = 1; ms <= milliseconds; ms++) {
        uint32_t before = outcome.brisk;
        if (period != 0 && ms % period == 0) {
            describe(VIRTIO_NET_RX, 0, DATA, 2048, WRITE, 0);
            offer(VIRTIO_NET_RX, QUEUE_SIZE, 0);
        }
        /* Eight frames a millisecond for each, if there is a ticket for them. */
        for (uint32_t i = 0; i < 16; i++) {
            uint16_t ticket = 0;
            while (ticket < NETQ_ENTRIES && out[ticket]) {
                ticket++;
            }
            if (ticket < NETQ_ENTRIES && netq_room(&tx) != 0) {
                out[ticket] = true;
                netq_put(&tx,
                         &(struct netq_frame){.offset = 64 * (next++ % 2), .length = 60, .ticket = ticket});
            }
        }
        netq_show(&tx);
        for (uint32_t turn = 0; turn < 3; turn++) {
            forward_run(&forward);
            if (deadline <= (uint64_t)ms * MS) {
                virtio_net_give_up(&lazy);
            }
            virtio_net_run(&lazy);
            deadline = virtio_net_deadline(&lazy, (uint64_t)ms * MS);
            while (netq_look(&rx, &frame)) {
                netq_take(&rx);
                netq_put(&rx_done, &frame);
                outcome.brisk++;
            }
            netq_release(&rx);
            netq_show(&rx_done);
            while (netq_look(&tx_done, &frame)) {
                netq_take(&tx_done);
                out[frame.ticket] = false;
            }
            netq_release(&tx_done);
        }
        if (outcome.brisk == before) {
            outcome.quiet++;
            outcome.longest = ms - since > outcome.longest ? ms - since : outcome.longest;
        } else {
            since = ms;
        }
    }
    return outcome;
}

CASE(a_receiver_that_takes_nothing_holds_up_the_others_for_a_tenth_of_a_second_at_most)
{
    struct outcome outcome = simulate(0, 10000);
    CHECK(outcome.longest <= 101);
    CHECK(outcome.quiet <= 102);
    CHECK(outcome.brisk > 70000);
}

CASE(a_receiver_that_takes_a_frame_now_and_then_holds_up_the_others_for_a_part_of_the_time)
{
    const uint32_t periods[4] = {10, 50, 90, 150};
    for (int i = 0; i < 4; i++) {
        struct outcome outcome = simulate(periods[i], 10000);
        CHECK(outcome.longest <= 101);
        CHECK(outcome.quiet <= 1000);
    }
}

CASE(a_receiver_that_is_slow_but_busy_loses_nothing)
{
    simulate(1, 10000); /* a thousand frames a second, from a sender with eight times as many */
    EQUAL(lazy.counters.rx_dropped, 0);
    CHECK(lazy.counters.rx_frames > 9900);
}

CASE(senders_pay_for_the_frames_that_are_taken_and_the_guest_for_what_else_receiving_takes)
{
    struct netq_end rx;
    memset(shared, 0, sizeof(shared));
    netq_attach(&rx, &shared[1].rx);
    virtio_net_init(&lazy, &ram, ports[1].mac, 1500, &shared[1], pools[1], NETQ_MIN_POOL_BYTES, SECOND);
    lazy.source[0] = (struct virtio_net_source){pools[0], NETQ_MIN_POOL_BYTES};
    bring_up(&lazy.dev, 0, QUEUE_SIZE);
    netq_put(&rx, &(struct netq_frame){.length = 60});
    netq_show(&rx);
    virtio_net_run(&lazy); /* there are no buffers: the frame waits, however often the guest asks */
    EQUAL(virtio_net_paid(&lazy, 100), 0);
    describe(VIRTIO_NET_RX, 0, DATA, 2048, WRITE, 0);
    offer(VIRTIO_NET_RX, QUEUE_SIZE, 0);
    virtio_net_run(&lazy);
    EQUAL(virtio_net_paid(&lazy, 1000), MS / 20);
    EQUAL(virtio_net_paid(&lazy, 1000), 0);
    lazy.rx.at += 3;
    EQUAL(virtio_net_paid(&lazy, 20), 20);
    lazy.rx_counted = UINT32_MAX - 1;
    lazy.rx.at = 2;
    EQUAL(virtio_net_paid(&lazy, 1000), 4 * MS / 20);
}

/* Frames of port 0 that the receiver gets in this time, and of the receiver that port 0 gets, when a frame
 * takes the switch `cost` ticks. Every millisecond both send as much as their rings take; `answers`: or only
 * as many as came. */
struct flood {
    uint32_t asked;
    uint32_t answered;
};

static struct flood flood(uint32_t milliseconds, uint64_t cost, int to, bool answers)
{
    struct flood flood = {0};
    struct netq_end tx[2], tx_done[2], rx[2], rx_done[2];
    struct netq_frame frame;
    memset(shared, 0, sizeof(shared));
    for (uint32_t p = 0; p < 2; p++) {
        netq_attach(&tx[p], &shared[p].tx);
        netq_attach(&tx_done[p], &shared[p].tx_done);
        netq_attach(&rx[p], &shared[p].rx);
        netq_attach(&rx_done[p], &shared[p].rx_done);
    }
    CHECK(forward_init(&forward, &config, wires, SECOND) == NULL);
    compose(0, to);
    memcpy(pools[1], pools[0], 60);
    memcpy(pools[1], ports[0].mac, 6);
    memcpy(pools[1] + 6, ports[1].mac, 6);
    memcpy(pools[1] + 26, "\x0a\x4d\x00\x03\x0a\x4d\x00\x02\x00\x07\x30\x39", 12);
    uint32_t free[2] = {NETQ_ENTRIES, NETQ_ENTRIES}, owed = 0;
    uint16_t next[2] = {0, 0};
    for (uint32_t ms = 1; ms <= milliseconds; ms++) {
        for (uint32_t p = 0; p < 2; p++) {
            while (free[p] != 0 && netq_room(&tx[p]) != 0 && (p == 0 || !answers || owed != 0)) {
                netq_put(&tx[p], &(struct netq_frame){.length = 60, .ticket = next[p]++ % NETQ_ENTRIES});
                free[p]--;
                owed -= p == 1 && answers;
            }
            netq_show(&tx[p]);
        }
        uint64_t wake;
        bool again;
        do {
            again = forward_pass(&forward, (uint64_t)ms * MS, &wake);
            forward_took(&forward, forward.judged * cost);
        } while (again);
        for (uint32_t p = 0; p < 2; p++) {
            while (netq_look(&rx[p], &frame)) {
                netq_take(&rx[p]);
                netq_put(&rx_done[p], &frame);
                flood.asked += p == 1;
                flood.answered += p == 0;
                owed += p == 1 && answers;
            }
            netq_release(&rx[p]);
            netq_show(&rx_done[p]);
            while (netq_look(&tx_done[p], &frame)) {
                netq_take(&tx_done[p]);
                free[p]++;
            }
            netq_release(&tx_done[p]);
        }
    }
    return flood;
}

CASE(a_flood_of_frames_gets_a_part_of_the_time_that_it_costs_everybody)
{
    struct flood of = flood(10000, 2, 1, true);
    /* Each takes the switch 2 us, its receiver 32 times as long, and its answer the same again. */
    uint32_t fair = 10000000 / 2 / (2 * 2 * 33);
    CHECK(of.asked > fair / 2 && of.asked < fair * 3 / 2);
    EQUAL(forward.paused[1], false);
}

CASE(who_only_answers_owes_nothing)
{
    struct flood of = flood(10000, 2, 1, true);
    CHECK(of.answered + NETQ_ENTRIES >= of.asked);
    CHECK(forward.account[1].owed < forward.account[1].limit / 4);
}

CASE(a_port_that_owes_nothing_has_no_deadline)
{
    flood(10, 0, 1, false);
    EQUAL(forward_deadline(&forward), FORWARD_NEVER);
    EQUAL(forward.paused[0] || forward.paused[1], false);
}

CASE(a_port_that_waits_goes_on_at_its_deadline)
{
    uint64_t wake;
    flood(100, 2, 1, true);
    for (uint64_t now = 101 * MS; !forward.paused[0]; now += MS) {
        forward_pass(&forward, now, &wake);
        CHECK(now < 200 * MS);
    }
    uint64_t due = forward_deadline(&forward);
    CHECK(due != FORWARD_NEVER);
    forward_pass(&forward, due - 1, &wake);
    EQUAL(forward.paused[0], true);
    EQUAL(forward.judged, 0);
    shared[0].tx.head = shared[0].tx.tail; /* nothing more to send */
    forward_pass(&forward, due, &wake);
    EQUAL(forward_deadline(&forward) > due, true);
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(an_account_is_paid_by_time_at_a_fraction_of_its_pace),
    NAMED(an_account_is_paid_in_many_short_steps_as_in_one),
    NAMED(more_than_the_limit_at_once_is_not_charged_and_debt_has_an_end),
    NAMED(a_guest_that_ends_again_and_again_waits_longer_each_time),
    NAMED(a_receiver_that_takes_nothing_holds_up_the_others_for_a_tenth_of_a_second_at_most),
    NAMED(a_receiver_that_takes_a_frame_now_and_then_holds_up_the_others_for_a_part_of_the_time),
    NAMED(a_receiver_that_is_slow_but_busy_loses_nothing),
    NAMED(senders_pay_for_the_frames_that_are_taken_and_the_guest_for_what_else_receiving_takes),
    NAMED(a_flood_of_frames_gets_a_part_of_the_time_that_it_costs_everybody),
    NAMED(who_only_answers_owes_nothing),
    NAMED(a_port_that_owes_nothing_has_no_deadline),
    NAMED(a_port_that_waits_goes_on_at_its_deadline),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
