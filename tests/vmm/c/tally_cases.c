/* SPDX-License-Identifier: BSD-2-Clause */

/* The switch's counters as it publishes them: for frames here, for packets in packets_cases.c. */
#include "case.h"
#include "publish.h"
#include "three_ports.h"

static struct tally tally;
static struct netq_end tx;
static uint64_t value[TALLY_VALUES];
static uint32_t kind, values;

static void start(void)
{
    memset(&tally, 0, sizeof(tally));
    memset(shared, 0, sizeof(shared));
    CHECK(forward_init(&forward, &config, wires, 1000000) == NULL);
    netq_attach(&tx, &shared[0].tx);
}

static void submit(uint16_t ticket, uint32_t offset, uint32_t length)
{
    const struct netq_frame entry = {.offset = offset, .length = length, .ticket = ticket};
    netq_put(&tx, &entry);
    netq_show(&tx);
    forward_run(&forward);
}

static void read_port(uint32_t port)
{
    publish(&forward, &tally);
    CHECK(tally_read(&tally, port, &kind, &values, value));
    EQUAL(kind, TALLY_FRAMES);
    EQUAL(values, TALLY_DROPS + VSWITCH_REASON_COUNT);
}

CASE(nothing_is_read_before_the_switch_has_published)
{
    start();
    CHECK(tally_read(&tally, 0, &kind, &values, value));
    EQUAL(kind, TALLY_NOTHING);
    EQUAL(values, 0);
}

CASE(frames_are_counted_at_the_sender_and_at_the_receiver)
{
    start();
    compose(0, 1);
    submit(0, 0, 60);
    read_port(0);
    EQUAL(value[TALLY_RX_FRAMES], 1);
    EQUAL(value[TALLY_RX_BYTES], 60);
    EQUAL(value[TALLY_TX_FRAMES], 0);
    EQUAL(value[TALLY_CONNECTED], 1);
    read_port(1);
    EQUAL(value[TALLY_RX_FRAMES], 0);
    EQUAL(value[TALLY_TX_FRAMES], 1);
    EQUAL(value[TALLY_TX_BYTES], 60);
    read_port(2);
    EQUAL(value[TALLY_TX_FRAMES], 0);
}

CASE(a_refused_frame_raises_its_reason_for_its_sender_alone)
{
    start();
    compose(0, 1);
    pools[0][37] = 9; /* no rule allows UDP to this port */
    submit(0, 0, 60);
    for (uint32_t port = 0; port < PORTS; port++) {
        read_port(port);
        for (uint32_t reason = 0; reason < VSWITCH_REASON_COUNT; reason++) {
            EQUAL(value[TALLY_DROPS + reason], port == 0 && reason == VSWITCH_NOT_ALLOWED);
        }
        EQUAL(value[TALLY_BREACHES], 0);
    }
}

CASE(an_entry_that_a_monitor_may_not_write_is_a_breach)
{
    start();
    submit(0, POOL_BYTES, 60);
    read_port(0);
    EQUAL(value[TALLY_BREACHES], 1);
    EQUAL(value[TALLY_RX_FRAMES], 0);
    read_port(1);
    EQUAL(value[TALLY_BREACHES], 0);
}

CASE(a_port_that_is_down_is_not_connected)
{
    start();
    vswitch_set_link(&forward.state, 2, false);
    read_port(2);
    EQUAL(value[TALLY_CONNECTED], 0);
    read_port(1);
    EQUAL(value[TALLY_CONNECTED], 1);
}

CASE(what_is_read_while_the_switch_writes_is_not_used)
{
    start();
    read_port(0);
    tally_begin(&tally);
    CHECK(!tally_read(&tally, 0, &kind, &values, value));
    tally_end(&tally);
    CHECK(tally_read(&tally, 0, &kind, &values, value));
}

CASE(no_count_of_values_makes_a_reader_leave_its_room)
{
    start();
    read_port(0);
    tally.values = UINT32_MAX;
    CHECK(tally_read(&tally, 0, &kind, &values, value));
    EQUAL(values, TALLY_VALUES);
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(nothing_is_read_before_the_switch_has_published),
    NAMED(frames_are_counted_at_the_sender_and_at_the_receiver),
    NAMED(a_refused_frame_raises_its_reason_for_its_sender_alone),
    NAMED(an_entry_that_a_monitor_may_not_write_is_a_breach),
    NAMED(a_port_that_is_down_is_not_connected),
    NAMED(what_is_read_while_the_switch_writes_is_not_used),
    NAMED(no_count_of_values_makes_a_reader_leave_its_room),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
