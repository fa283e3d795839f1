/* SPDX-License-Identifier: BSD-2-Clause */

/* The console multiplexer: frames of programs and keys of a person. */
#include "mux_stand.h"

CASE(a_frame_reaches_its_port_whoever_has_the_keyboard)
{
    uint8_t got[16] = {0};
    start_mux();
    send(1, 7, false, "5 aWQ=\\x0a");
    EQUAL(charq_read(&guest_in[1], got, 16), 7);
    CHECK(memcmp(got, "5 aWQ=\n", 7) == 0);
    EQUAL(charq_read(&guest_in[0], got, 16), 0);
    CHECK(strcmp(shown(), "server.control< taken\r\n") == 0);
    EQUAL(mux_wakes(&mux), 2);
}

CASE(a_frame_that_is_sent_again_is_taken_once)
{
    uint8_t got[16];
    start_mux();
    send(1, 7, false, "once");
    send(1, 7, false, "once");
    EQUAL(charq_read(&guest_in[1], got, 16), 4);
    send(1, 8, false, "more");
    EQUAL(charq_read(&guest_in[1], got, 16), 4);
    CHECK(strcmp(shown(), "server.control< taken\r\n") == 0); /* the last answer is the one that counts */
}

CASE(a_frame_that_finds_no_room_is_refused_at_once_and_whole)
{
    uint8_t got[CHARQ_IN_BYTES];
    start_mux();
    for (uint32_t i = 0; i < 102; i++) {
        send(2, i, false, "0123456789");
        CHECK(strcmp(shown(), "client< taken\r\n") == 0);
    }
    send(2, 200, false, "0123456789");
    CHECK(strcmp(shown(), "client< full\r\n") == 0);
    send(0, 1, false, "others live");
    EQUAL(charq_read(&guest_in[0], got, sizeof(got)), 11);
    EQUAL(charq_read(&guest_in[2], got, sizeof(got)), 1020);
    send(2, 200, false, "0123456789");
    EQUAL(charq_read(&guest_in[2], got, sizeof(got)), 10);
}

CASE(a_damaged_frame_is_dropped_and_nothing_of_it_is_typed)
{
    uint8_t got[16];
    start_mux();
    send(1, 1, true, ""); /* a program has the line */
    CHECK(strcmp(shown(), "server.control< taken\r\n") == 0);
    const char *bad[] = {"\x1e"
                         "abc`20g01w000000\n",
                         "\x1e`\n", "\x1e\n", "rm -rf /\n",
                         "\x1c"
                         "0ls\n"};
    for (uint32_t i = 0; i < 5; i++) {
        for (const char *at = bad[i]; *at != 0; at++) {
            CHECK(mux_input(&mux, (uint8_t)*at, 0));
        }
    }
    for (uint32_t i = 0; i < 600; i++) {
        CHECK(mux_input(&mux, i == 0 ? MUX_FRAME : 'x', 0));
    }
    CHECK(mux_input(&mux, '\n', 0));
    for (uint32_t i = 0; i < 3; i++) {
        EQUAL(charq_read(&guest_in[i], got, 16), 0);
    }
    CHECK(strcmp(shown(), "") == 0);
    send(2, 1, false, "hi");
    EQUAL(charq_read(&guest_in[2], got, 16), 2);
}

CASE(a_person_takes_the_line_back_from_a_program)
{
    uint8_t got[16];
    start_mux();
    send(1, 1, true, "");
    for (const char *at = "a\x1c"
                          "0b"
                          "\x1c\x1c\x1c"
                          "2c";
         *at != 0; at++) {
        CHECK(mux_input(&mux, (uint8_t)*at, 0));
    }
    EQUAL(charq_read(&guest_in[0], got, 16), 0);
    EQUAL(charq_read(&guest_in[2], got, 16), 1);
    send(1, 2, true, "");
    send(0, 3, true, MUX_KEYS);
    CHECK(mux_input(&mux, 'd', 0));
    EQUAL(charq_read(&guest_in[0], got, 16), 1);
}

/* Fills the ring of a console that prints without pause. */
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
    CHECK(strcmp(shown(), "server< " MUX_NOTICE "\r\n") == 0);
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

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(a_frame_reaches_its_port_whoever_has_the_keyboard),
    NAMED(a_frame_that_is_sent_again_is_taken_once),
    NAMED(a_frame_that_finds_no_room_is_refused_at_once_and_whole),
    NAMED(a_damaged_frame_is_dropped_and_nothing_of_it_is_typed),
    NAMED(a_person_takes_the_line_back_from_a_program),
    NAMED(the_keyboard_goes_where_it_was_sent),
    NAMED(keys_for_a_guest_that_reads_late_wait),
    NAMED(a_guest_that_does_not_read_cannot_keep_the_keyboard),
    NAMED(a_guest_that_reads_a_byte_now_and_then_cannot_keep_it_either),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
