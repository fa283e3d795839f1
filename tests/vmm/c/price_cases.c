/* SPDX-License-Identifier: BSD-2-Clause */

/* Who pays for which frame, and what a port that owes too much waits for. */
#include "case.h"
#include "three_ports.h"

#define SECOND 1000000u /* ticks of these tests' counter */
#define MS (SECOND / 1000)
#define UDP_BYTES 60u
#define SMALL 33u /* the price of a small frame, in what it takes the switch */

/* The ports of three_ports.h, of which every one may open UDP to port 7 of every other one. */
static const struct vswitch_rule all_talk[6] = {{0, 1, VSWITCH_UDP, 7}, {0, 2, VSWITCH_UDP, 7},
                                                {1, 0, VSWITCH_UDP, 7}, {1, 2, VSWITCH_UDP, 7},
                                                {2, 0, VSWITCH_UDP, 7}, {2, 1, VSWITCH_UDP, 7}};
static const struct vswitch_config talkative = {ports, all_talk, PORTS, 6, VSWITCH_FRAME_MAX};

static struct end {
    struct netq_end tx, tx_done, rx, rx_done;
    uint32_t next; /* ticket */
    uint32_t free; /* tickets */
} ends[PORTS];
static uint64_t now;
static uint64_t cost; /* ticks that a frame takes the switch */

enum kind { QUESTION, ANSWER };

static void begin(uint64_t ticks)
{
    memset(shared, 0, sizeof(shared));
    for (uint32_t p = 0; p < PORTS; p++) {
        netq_attach(&ends[p].tx, &shared[p].tx);
        netq_attach(&ends[p].tx_done, &shared[p].tx_done);
        netq_attach(&ends[p].rx, &shared[p].rx);
        netq_attach(&ends[p].rx_done, &shared[p].rx_done);
        ends[p].next = 0;
        ends[p].free = NETQ_ENTRIES;
    }
    now = SECOND;
    cost = ticks;
    CHECK(forward_init(&forward, &talkative, wires, SECOND) == NULL);
}

/* Passes until the switch may sleep, which it may only do until a time that is still to come. */
static void work(void)
{
    forward_run_at(&forward, now, cost);
}

static bool put_long(uint32_t from, uint32_t to, enum kind kind, uint32_t length)
{
    if (ends[from].free == 0 || netq_room(&ends[from].tx) == 0) {
        return false;
    }
    uint16_t ticket = (uint16_t)(ends[from].next++ % NETQ_ENTRIES);
    uint32_t offset = length == UDP_BYTES ? ticket * 64u : NETQ_ENTRIES * 64u;
    uint8_t *f = pools[from] + offset;
    memset(f, 0, UDP_BYTES);
    memcpy(f, ports[to].mac, 6);
    memcpy(f + 6, ports[from].mac, 6);
    memcpy(f + 12, "\x08\x00\x45\x00\x00\x2e\x00\x00\x40\x00\x40\x11\x00\x00\x0a\x4d\x00\x00\x0a\x4d\x00",
           21);
    f[29] = (uint8_t)(from + 2);
    f[33] = (uint8_t)(to + 2);
    memcpy(f + 34, kind == QUESTION ? "\x30\x39\x00\x07" : "\x00\x07\x30\x39", 4);
    f[16] = (uint8_t)((length - 14) >> 8);
    f[17] = (uint8_t)(length - 14);
    f[38] = (uint8_t)((length - 34) >> 8);
    f[39] = (uint8_t)(length - 34);
    netq_put(&ends[from].tx, &(struct netq_frame){.offset = offset, .length = length, .ticket = ticket});
    netq_show(&ends[from].tx);
    ends[from].free--;
    return true;
}

static bool put(uint32_t from, uint32_t to, enum kind kind)
{
    return put_long(from, to, kind, UDP_BYTES);
}

/* Frames that the port takes, and returns to their owners. */
static uint32_t get(uint32_t port)
{
    struct netq_frame frame;
    uint32_t count = 0;
    while (netq_look(&ends[port].rx, &frame)) {
        netq_take(&ends[port].rx);
        netq_put(&ends[port].rx_done, &frame);
        count++;
    }
    netq_release(&ends[port].rx);
    netq_show(&ends[port].rx_done);
    while (netq_look(&ends[port].tx_done, &frame)) {
        netq_take(&ends[port].tx_done);
        ends[port].free++;
    }
    netq_release(&ends[port].tx_done);
    return count;
}

static void wait(uint64_t ticks)
{
    now += ticks;
    work();
}

CASE(a_port_that_owes_too_much_while_its_next_frame_waits_for_a_receiver_leaves_the_switch_asleep)
{
    begin(2);
    /* Port 1 takes nothing. Its queue is full, with a frame of port 2 in it, so that port 0 has one left. */
    CHECK(put(2, 1, QUESTION));
    work();
    for (uint32_t i = 0; i < NETQ_ENTRIES; i++) {
        CHECK(put(0, 1, QUESTION));
        wait(SECOND / 10);
    }
    CHECK(forward.front[0].to != 0);
    forward.account[0].owed = forward.account[0].limit + 1;
    forward.account[0].at = now;
    forward.paused[0] = true;
    wait(0);
    wait(SECOND); /* what it owed is paid */
    EQUAL(forward_deadline(&forward), FORWARD_NEVER);
    CHECK(get(1) == NETQ_ENTRIES);
    work();
    get(0);
    EQUAL(forward.front[0].to, 0);
    CHECK(put(0, 1, QUESTION));
    wait(SECOND);
    CHECK(get(1) == 2);
}

CASE(while_the_processor_is_idle_a_port_that_owes_too_much_sends_a_little_more_each_time)
{
    begin(2);
    CHECK(!forward_owes(&forward));
    forward_idle(&forward, now); /* changes nothing: no port owes */
    EQUAL(forward.account[0].owed, 0);
    uint32_t in_debt = 0, sent = 0;
    for (; put(0, 1, QUESTION) && !forward.paused[0]; in_debt++) {
        work();
        get(1);
        get(0);
    }
    CHECK(forward.paused[0]);
    CHECK(put(0, 1, QUESTION));
    work();
    CHECK(forward_owes(&forward)); /* a frame waits */
    EQUAL(get(1), 0);
    for (uint32_t moment = 0; moment < 10; moment++) {
        forward_idle(&forward, now);
        uint32_t before = sent;
        for (bool more = true; more; put(0, 1, QUESTION)) {
            work();
            uint32_t got = get(1);
            sent += got;
            get(0);
            more = got != 0;
        }
        CHECK(forward.paused[0]);
        /* A quarter of what it may owe from nothing, and at least one frame. */
        CHECK(sent > before && sent - before <= in_debt / 4 + 2);
    }
    EQUAL(forward.paused[2], false);
}

/* What one more frame costs its sender, in what a frame takes the switch. */
static uint64_t price(uint32_t from, uint32_t to, enum kind kind, uint32_t length)
{
    forward.cost = 16 * cost;
    wait(SECOND);
    forward.account[from].owed = 0;
    CHECK(put_long(from, to, kind, length));
    forward_run_at(&forward, now, cost);
    get(to);
    get(from);
    return forward.account[from].owed / cost;
}

/* Port 0 asks port 1 as much as it may, `in_flight` at most without an answer, and port 1 answers each. How
 * many milliseconds of 2000 port 1 had to wait. */
static uint32_t flood(uint32_t in_flight)
{
    uint32_t waited = 0, open = 0, backlog = 0;
    for (uint32_t ms = 0; ms < 2000; ms++) {
        while (open < in_flight && put(0, 1, QUESTION)) {
            open++;
        }
        wait(MS / 2);
        backlog += get(1);
        while (backlog != 0 && put(1, 0, ANSWER)) {
            backlog--;
        }
        wait(MS / 2);
        get(1);
        open -= get(0);
        waited += forward.paused[1];
    }
    return waited;
}

CASE(a_port_that_once_sent_frames_without_an_answer_pays_for_no_flood)
{
    const uint32_t counts[4] = {0, 1, 32, 256};
    for (int i = 0; i < 4; i++) {
        begin(2);
        for (uint32_t n = 0; n < counts[i]; n++) {
            CHECK(put(1, 0, QUESTION));
            wait(MS);
            get(0);
            get(1);
        }
        wait(SECOND);
        EQUAL(flood(256), 0);
        CHECK(forward.account[1].owed < forward.account[1].limit / 4);
        CHECK(forward.account[0].owed > forward.account[0].limit / 4);
    }
}

CASE(a_server_that_sends_without_end_charges_its_client_nothing)
{
    begin(2);
    for (uint32_t n = 0; n < 256; n++) {
        CHECK(put(0, 1, QUESTION));
        wait(MS);
        get(1);
        get(0);
    }
    wait(SECOND);
    EQUAL(forward.account[0].owed > forward.account[0].limit / 4, false);
    uint32_t reached = 0, answers = 0;
    for (uint32_t ms = 0; ms < 1000; ms++) {
        while (put(1, 0, ANSWER)) {
        }
        CHECK(put(0, 2, QUESTION));
        wait(MS);
        answers += get(0);
        reached += get(2);
        get(0);
        get(1);
        EQUAL(forward.paused[0], false);
    }
    EQUAL(reached, 1000);
    /* What was paid for, and what it may send at its own expense. */
    CHECK(answers < 256 + 1000000 / 2 / (2 * SMALL) * 5 / 4 + 256);
}

CASE(a_question_pays_for_its_answer_and_no_more_answers_are_saved_than_can_be_on_the_way)
{
    begin(2);
    EQUAL(price(0, 1, QUESTION, UDP_BYTES), 2 * SMALL);
    EQUAL(price(1, 0, ANSWER, UDP_BYTES), 0);
    EQUAL(price(1, 0, ANSWER, UDP_BYTES), SMALL);
    for (uint32_t n = 0; n < NETQ_ENTRIES; n++) {
        EQUAL(price(0, 1, QUESTION, UDP_BYTES), 2 * SMALL);
    }
    EQUAL(price(0, 1, QUESTION, UDP_BYTES), SMALL);
    /* Saved answers pay for no question, and not for those of others. */
    EQUAL(price(1, 0, QUESTION, UDP_BYTES), 2 * SMALL);
    EQUAL(price(2, 0, ANSWER, UDP_BYTES), SMALL);
    EQUAL(price(1, 2, ANSWER, UDP_BYTES), SMALL);
}

CASE(a_long_frame_costs_more_and_a_long_answer_more_than_its_question_has_paid)
{
    begin(2);
    EQUAL(price(2, 0, ANSWER, 1514), SMALL);
    EQUAL(price(2, 0, ANSWER, 40000), SMALL + 32);
    EQUAL(price(2, 0, ANSWER, 65535), SMALL + 32);
    EQUAL(price(0, 1, QUESTION, UDP_BYTES), 2 * SMALL);
    EQUAL(price(1, 0, ANSWER, 40000), 32);
}

CASE(an_announcement_to_all_is_no_answer)
{
    begin(2);
    EQUAL(price(1, 0, QUESTION, UDP_BYTES), 2 * SMALL);
    EQUAL(price(2, 0, QUESTION, UDP_BYTES), 2 * SMALL);
    wait(SECOND);
    compose(0, -1);
    memcpy(pools[0] + 38, "\x0a\x4d\x00\x02", 4);
    forward.account[0].owed = 0;
    netq_put(&ends[0].tx, &(struct netq_frame){.length = 60, .ticket = (uint16_t)(ends[0].next++)});
    netq_show(&ends[0].tx);
    work();
    EQUAL(get(1) + get(2), 2);
    EQUAL(forward.account[0].owed, cost * (1 + 2 * 32));
    EQUAL(price(0, 1, ANSWER, UDP_BYTES), 0);
    EQUAL(price(0, 2, ANSWER, UDP_BYTES), 0);
}

static uint64_t average(uint32_t passes, uint32_t judged, uint32_t dropped, uint64_t ticks)
{
    for (uint32_t i = 0; i < passes; i++) {
        forward.judged = judged;
        forward.dropped = dropped;
        forward_took(&forward, ticks);
    }
    return forward.cost / 16;
}

CASE(the_price_is_what_a_frame_takes_and_a_pass_that_was_preempted_makes_it_little_dearer)
{
    begin(10);
    CHECK(forward_init(&forward, &talkative, wires, 1000 * SECOND) == NULL);
    EQUAL(average(10, 64, 0, 64000), 1000);
    CHECK(average(1, 1, 0, 1000 * SECOND) == 1000);
    CHECK(average(63, 1, 0, 1000) <= 1250); /* one of 64 counts as a tenth of a millisecond */
    CHECK(average(100, 64, 0, 6400) < 110);
    CHECK(average(100, 64, 32, 64000) > 900);
}

CASE(one_frame_in_64_that_is_dropped_keeps_no_price_up)
{
    begin(10);
    CHECK(forward_init(&forward, &talkative, wires, 1000 * SECOND) == NULL);
    EQUAL(average(10, 64, 0, 64000), 1000);
    CHECK(average(50, 64, 1, 640) <= 11);
}

/* Frames that pass take 1000 ticks, dropped ones a part of that. */
CASE(frames_that_are_dropped_make_others_no_cheaper)
{
    for (uint32_t part = 1; part <= 4; part++) {
        for (uint32_t dropped = 0; dropped <= 64; dropped++) {
            begin(10);
            CHECK(forward_init(&forward, &talkative, wires, 1000 * SECOND) == NULL);
            EQUAL(average(10, 64, 0, 64000), 1000);
            CHECK(average(1000, 64, dropped, (64 - dropped) * 1000 + dropped * 1000 / part) >= 999);
        }
    }
}

CASE(a_flood_of_dropped_frames_keeps_the_price_within_four_times_what_a_frame_takes)
{
    begin(10);
    CHECK(forward_init(&forward, &talkative, wires, 1000 * SECOND) == NULL);
    EQUAL(average(10, 64, 0, 64000), 1000);
    for (uint32_t i = 0; i < 100; i++) {
        average(1, 64, 63, 1000 * SECOND); /* preempted: 100 times what it takes */
        CHECK(forward.cost / 16 > 4000);
        CHECK(average(50, 64, 63, 64000) <= 4000);
    }
    CHECK(average(100, 64, 0, 64000) <= 1001); /* and no longer than it lasts */
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(a_port_that_owes_too_much_while_its_next_frame_waits_for_a_receiver_leaves_the_switch_asleep),
    NAMED(while_the_processor_is_idle_a_port_that_owes_too_much_sends_a_little_more_each_time),
    NAMED(a_port_that_once_sent_frames_without_an_answer_pays_for_no_flood),
    NAMED(a_server_that_sends_without_end_charges_its_client_nothing),
    NAMED(a_question_pays_for_its_answer_and_no_more_answers_are_saved_than_can_be_on_the_way),
    NAMED(a_long_frame_costs_more_and_a_long_answer_more_than_its_question_has_paid),
    NAMED(an_announcement_to_all_is_no_answer),
    NAMED(the_price_is_what_a_frame_takes_and_a_pass_that_was_preempted_makes_it_little_dearer),
    NAMED(one_frame_in_64_that_is_dropped_keeps_no_price_up),
    NAMED(frames_that_are_dropped_make_others_no_cheaper),
    NAMED(a_flood_of_dropped_frames_keeps_the_price_within_four_times_what_a_frame_takes),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
