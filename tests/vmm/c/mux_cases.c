/* SPDX-License-Identifier: BSD-2-Clause */

/* The console multiplexer. */
#include "case.h"
#include "mux.h"

#define PATIENCE 5000u

static struct mux mux;
static struct charq_port lines[3];
static struct charq_end guest_out[3], guest_in[3];
static char serial[8192];

static void start_mux(void)
{
    static const char *const names[3] = {"server", "server.control", "client"};
    memset(lines, 0, sizeof(lines));
    mux_init(&mux, PATIENCE);
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
        CHECK(mux_input(&mux, (uint8_t)*keys, 0));
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

static void fill(uint64_t now)
{
    for (uint32_t i = 0; i < CHARQ_IN_BYTES; i++) {
        CHECK(mux_input(&mux, 'x', now));
    }
}

static void guest_reads(uint32_t port, uint32_t n)
{
    uint8_t bytes[CHARQ_IN_BYTES];
    EQUAL(charq_read(&guest_in[port], bytes, n), n);
    charq_made_room(&guest_in[port]);
}

CASE(keys_for_a_guest_that_reads_late_wait)
{
    start_mux();
    fill(100);
    EQUAL(mux_deadline(&mux), MUX_NEVER);
    CHECK(!mux_input(&mux, 'y', 200));
    EQUAL(mux_deadline(&mux), 200 + PATIENCE);
    CHECK(!mux_input(&mux, 'y', 199 + PATIENCE));
    guest_reads(0, 1);
    CHECK(mux_input(&mux, 'y', 199 + PATIENCE));
    guest_reads(0, CHARQ_IN_BYTES);
    CHECK(mux_input(&mux, 'z', 300 + PATIENCE)); /* it reads: all is forgotten */
    EQUAL(mux_deadline(&mux), MUX_NEVER);
    CHECK(strcmp(shown(), "") == 0);
}

CASE(a_guest_that_does_not_read_cannot_keep_the_keyboard)
{
    uint8_t got[4];
    start_mux();
    fill(0);
    CHECK(!mux_input(&mux, 'y', 1));
    CHECK(mux_input(&mux, 'y', 1 + PATIENCE)); /* dropped, as all that follows */
    EQUAL(mux_deadline(&mux), MUX_NEVER);
    CHECK(mux_input(&mux, 'y', 2 + PATIENCE));
    type("\x1c"
         "2hi");
    EQUAL(charq_read(&guest_in[2], got, 4), 2);
    CHECK(memcmp(got, "hi", 2) == 0);
    CHECK(strcmp(shown(), "server| " MUX_NOTICE "\r\n") == 0);
    guest_reads(0, CHARQ_IN_BYTES); /* nothing of it was put behind what it had */
    EQUAL(charq_read(&guest_in[0], got, 1), 0);
    type("\x1c"
         "0ab");
    EQUAL(charq_read(&guest_in[0], got, 4), 2);
    CHECK(strcmp(shown(), "") == 0); /* told once */
}

CASE(a_guest_that_reads_a_byte_now_and_then_cannot_keep_it_either)
{
    uint64_t now = 1;
    uint32_t given = 0;
    start_mux();
    fill(0);
    CHECK(!mux_input(&mux, 'y', now));
    while (!mux_input(&mux, 'y', now)) {
        guest_reads(0, 1);
        CHECK(mux_input(&mux, 'y', now)); /* fits: the ring is full again */
        now += PATIENCE / 10;
        CHECK(++given < 11);
    }
    guest_reads(0, CHARQ_IN_BYTES / 2 - 1);
    CHECK(mux_input(&mux, 'n', now)); /* more than half is left: still dropped */
    guest_reads(0, 1);
    CHECK(mux_input(&mux, 'z', now));
    guest_reads(0, CHARQ_IN_BYTES / 2);
    guest_reads(0, 1);
}

CASE(what_the_multiplexer_says_itself_tears_no_line)
{
    start_mux();
    print(0, "half");
    CHECK(strcmp(shown(), "server| half") == 0);
    fill(0);
    CHECK(!mux_input(&mux, 'y', 0));
    CHECK(mux_input(&mux, 'y', PATIENCE));
    print(0, " line\n");
    CHECK(strcmp(shown(), "\r\nserver| " MUX_NOTICE "\r\nserver|  line\r\n") == 0);
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
    NAMED(lines_carry_the_name_of_their_console),
    NAMED(a_line_is_never_torn),
    NAMED(a_prompt_appears_at_once_and_again_after_an_interruption),
    NAMED(carriage_returns_within_a_line_stay_and_those_before_its_end_go),
    NAMED(a_long_line_is_cut_into_marked_pieces),
    NAMED(the_keyboard_goes_where_it_was_sent),
    NAMED(keys_for_a_guest_that_reads_late_wait),
    NAMED(a_guest_that_does_not_read_cannot_keep_the_keyboard),
    NAMED(a_guest_that_reads_a_byte_now_and_then_cannot_keep_it_either),
    NAMED(what_the_multiplexer_says_itself_tears_no_line),
    NAMED(a_producer_that_waits_for_room_is_woken),
    NAMED(a_console_ring_with_a_senseless_index_is_empty_or_full),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
