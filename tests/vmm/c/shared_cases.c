/* The rings between domains, the switch around them, and the console multiplexer. */
#include "case.h"
#include "mux.h"
#include "netq.h"
#include "three_ports.h"

static struct netq_pool pool;

CASE(pieces_of_a_pool_never_overlap_and_all_come_back)
{
    static uint8_t owner[NETQ_POOL_LEAST];
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
    netq_pool_init(&pool, NETQ_POOL_LEAST);
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
    CHECK(forward_init(&forward, &config, wires) == NULL);
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

CASE(lies_of_a_monitor_are_counted_and_touch_nobody_else)
{
    struct netq_frame frame;
    start_switch();
    compose(0, 1);
    submit(NETQ_POOL_LEAST - 10, 0); /* beyond its pool */
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

static struct mux mux;
static struct charq_port lines[3];
static struct charq_end guest_out[3], guest_in[3];
static char serial[8192];

static void start_mux(void)
{
    static const char *const names[3] = {"server", "server.control", "client"};
    memset(lines, 0, sizeof(lines));
    mux_init(&mux);
    for (uint32_t i = 0; i < 3; i++) {
        EQUAL(mux_add(&mux, names[i], i == 1, &lines[i]), i);
        charq_attach(&guest_out[i], &lines[i].out, lines[i].out_bytes, CHARQ_OUT_BYTES);
        charq_attach(&guest_in[i], &lines[i].in, lines[i].in_bytes, CHARQ_IN_BYTES);
    }
}

static void print(uint32_t port, const char *text)
{
    EQUAL(charq_write(&guest_out[port], (const uint8_t *)text, (uint32_t)strlen(text)), strlen(text));
}

static const char *shown(void)
{
    uint32_t n = 0;
    for (int byte = mux_next(&mux); byte >= 0 && n < sizeof(serial) - 1; byte = mux_next(&mux)) {
        serial[n++] = (char)byte;
    }
    serial[n] = 0;
    return serial;
}

CASE(lines_carry_the_name_of_their_console)
{
    start_mux();
    print(2, "hello\r\nworld\n");
    CHECK(strcmp(shown(), "client| hello\r\nclient| world\r\n") == 0);
}

CASE(a_line_is_never_torn)
{
    start_mux();
    print(1, "half");
    print(2, "whole\n");
    CHECK(strcmp(shown(), "client| whole\r\n") == 0);
    print(1, " line\n");
    CHECK(strcmp(shown(), "server.control| half line\r\n") == 0);
}

CASE(a_prompt_appears_at_once_and_again_after_an_interruption)
{
    start_mux();
    print(0, "/ # ");
    CHECK(strcmp(shown(), "server| / # ") == 0);
    print(2, "boot\n");
    CHECK(strcmp(shown(), "\r\nclient| boot\r\nserver| / # ") == 0);
    print(0, "ls\n");
    CHECK(strcmp(shown(), "ls\r\n") == 0);
}

CASE(carriage_returns_within_a_line_stay_and_those_before_its_end_go)
{
    start_mux();
    print(0, "/ # ls");
    CHECK(strcmp(shown(), "server| / # ls") == 0);
    print(0, "\r/ # id\r");
    CHECK(strcmp(shown(), "\r/ # id\r") == 0);
    print(0, "\n/ # \r\r\n");
    CHECK(strcmp(shown(), "\r\nserver| / # \r\r\n") == 0);
    print(2, "50 %\r100 %\r\n\r\n");
    CHECK(strcmp(shown(), "client| 50 %\r100 %\r\nclient| \r\n") == 0);
}

CASE(a_long_line_is_cut_into_marked_pieces)
{
    char text[MUX_LINE + 11];
    start_mux();
    memset(text, 'x', sizeof(text));
    text[MUX_LINE + 9] = '\n';
    text[MUX_LINE + 10] = 0;
    print(2, text);
    const char *out = shown();
    CHECK(strncmp(out, "client| xxx", 11) == 0);
    CHECK(strstr(out, "\r\nclient+ xxxxxxxxx\r\n") != NULL);
}

static void type(const char *keys)
{
    for (; *keys != 0; keys++) {
        CHECK(mux_input(&mux, (uint8_t)*keys));
    }
}

CASE(the_keyboard_goes_where_it_was_sent)
{
    uint8_t got[16] = {0};
    start_mux();
    type("ab\x1c"
         "2cd\x1c\x1c"
         "\x1c"
         "9e");
    EQUAL(charq_read(&guest_in[0], got, 16), 2);
    CHECK(memcmp(got, "ab", 2) == 0);
    EQUAL(charq_read(&guest_in[2], got, 16), 4); /* there is no console 9: the keyboard stays */
    CHECK(memcmp(got,
                 "cd\x1c"
                 "e",
                 4) == 0);
    EQUAL(mux_wakes(&mux), 5);
    EQUAL(mux_wakes(&mux), 0);
}

CASE(a_guest_that_does_not_read_refuses_keys_until_it_does)
{
    uint8_t byte;
    start_mux();
    for (uint32_t i = 0; i < CHARQ_IN_BYTES; i++) {
        CHECK(mux_input(&mux, 'x'));
    }
    CHECK(!mux_input(&mux, 'y'));
    EQUAL(charq_read(&guest_in[0], &byte, 1), 1);
    CHECK(charq_made_room(&guest_in[0]));
    CHECK(mux_input(&mux, 'y'));
}

CASE(a_producer_that_waits_for_room_is_woken)
{
    static uint8_t text[CHARQ_OUT_BYTES];
    start_mux();
    memset(text, 'a', sizeof(text));
    EQUAL(charq_write(&guest_out[2], text, sizeof(text)), sizeof(text));
    CHECK(!charq_await_room(&guest_out[2]));
    shown();
    EQUAL(mux_wakes(&mux), 4);
}

CASE(a_console_ring_with_a_senseless_index_is_empty_or_full)
{
    uint8_t byte;
    start_mux();
    lines[2].out.head = CHARQ_OUT_BYTES + 1;
    CHECK(strcmp(shown(), "") == 0);
    lines[2].in.tail = 77;
    EQUAL(charq_write(&mux.port[2].in, &byte, 1), 0);
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
    NAMED(lies_of_a_monitor_are_counted_and_touch_nobody_else),
    NAMED(a_full_receiver_loses_nothing_and_does_not_stop_other_senders),
    NAMED(lines_carry_the_name_of_their_console),
    NAMED(a_line_is_never_torn),
    NAMED(a_prompt_appears_at_once_and_again_after_an_interruption),
    NAMED(carriage_returns_within_a_line_stay_and_those_before_its_end_go),
    NAMED(a_long_line_is_cut_into_marked_pieces),
    NAMED(the_keyboard_goes_where_it_was_sent),
    NAMED(a_guest_that_does_not_read_refuses_keys_until_it_does),
    NAMED(a_producer_that_waits_for_room_is_woken),
    NAMED(a_console_ring_with_a_senseless_index_is_empty_or_full),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
