/* SPDX-License-Identifier: BSD-2-Clause */

/* Who pays for which frame, and what a port that owes too much waits for. */
#include "case.h"
#include "three_ports.h"

#define SECOND 1000000u /* ticks of these tests' counter */
#define MS (SECOND / 1000)
#define UDP_BYTES 60u

/* The ports of three_ports.h, of which every one may open UDP to port 7 of every other one. */
static const struct vswitch_rule all_talk[6] = {{0, 1, VSWITCH_UDP, 7}, {0, 2, VSWITCH_UDP, 7},
                                                {1, 0, VSWITCH_UDP, 7}, {1, 2, VSWITCH_UDP, 7},
                                                {2, 0, VSWITCH_UDP, 7}, {2, 1, VSWITCH_UDP, 7}};
static const struct vswitch_config all = {ports, all_talk, PORTS, 6, VSWITCH_FRAME_MAX};

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
    CHECK(forward_init(&forward, &all, wires, SECOND) == NULL);
}

/* Passes until the switch may sleep, which it may only do until a time that is still to come. */
static void work(void)
{
    forward_run_at(&forward, now, cost);
}

static bool put(uint32_t from, uint32_t to, enum kind kind)
{
    if (ends[from].free == 0 || netq_room(&ends[from].tx) == 0) {
        return false;
    }
    uint16_t ticket = (uint16_t)(ends[from].next++ % NETQ_ENTRIES);
    uint32_t offset = ticket * 64u;
    uint8_t *f = pools[from] + offset;
    memset(f, 0, UDP_BYTES);
    memcpy(f, ports[to].mac, 6);
    memcpy(f + 6, ports[from].mac, 6);
    memcpy(f + 12, "\x08\x00\x45\x00\x00\x2e\x00\x00\x40\x00\x40\x11\x00\x00\x0a\x4d\x00\x00\x0a\x4d\x00",
           21);
    f[29] = (uint8_t)(from + 2);
    f[33] = (uint8_t)(to + 2);
    memcpy(f + 34, kind == QUESTION ? "\x30\x39\x00\x07\x00\x1a" : "\x00\x07\x30\x39\x00\x1a", 6);
    netq_put(&ends[from].tx, &(struct netq_frame){.offset = offset, .length = UDP_BYTES, .ticket = ticket});
    netq_show(&ends[from].tx);
    ends[from].free--;
    return true;
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

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(a_port_that_owes_too_much_while_its_next_frame_waits_for_a_receiver_leaves_the_switch_asleep),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
