/* SPDX-License-Identifier: BSD-2-Clause */

/* The console multiplexer. */
#include "case.h"
#include "mux.h"

#define PATIENCE 5000u
#define SECOND 1000000u

static uint64_t clock_now;

static struct mux mux;
static struct charq_port lines[3];
static struct charq_end guest_out[3], guest_in[3];
static char serial[65536];

static void start_mux(void)
{
    static const char *const names[3] = {"server", "server.control", "client"};
    memset(lines, 0, sizeof(lines));
    mux_init(&mux, PATIENCE, SECOND);
    clock_now = 0;
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

/* What the terminal shows: the line's bytes without tails and what hides them. */
static const char *shown(void)
{
    uint32_t n = 0;
    for (int byte = mux_next(&mux, clock_now); byte >= 0 && n < sizeof(serial) - 1;
         byte = mux_next(&mux, clock_now)) {
        serial[n++] = (char)byte;
        bool hidden = byte == MUX_SHOW && n >= 18 && memcmp(serial + n - 18, MUX_HIDE, 5) == 0;
        bool ends = n >= 15 && memcmp(serial + n - 2, "\r\n", 2) == 0 && serial[n - 14] == FRAME_MARK;
        if (hidden) {
            n -= 18;
        } else if (ends) {
            CHECK(serial[n - 15] == ' ');
            n -= 15;
            memcpy(serial + n, "\r\n", 2);
            n += 2;
        }
    }
    serial[n] = 0;
    return serial;
}

/* The line's bytes as they are. */
static const char *raw_line(void)
{
    uint32_t n = 0;
    for (int byte = mux_next(&mux, clock_now); byte >= 0 && n < sizeof(serial) - 1;
         byte = mux_next(&mux, clock_now)) {
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

CASE(the_tail_of_a_line_is_the_documented_one)
{
    start_mux();
    print(2, "hello\n");
    CHECK(strcmp(raw_line(), "client| hello `21g012q7cst\r\n") == 0);
    print(0, "$ ");
    CHECK(strcmp(raw_line(), "server| $ \x1b]77;`00w002UnP41\a") == 0);
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

CASE(an_unfinished_line_that_is_long_is_not_shown_again_and_again)
{
    char text[MUX_AGAIN + 2];
    start_mux();
    memset(text, 'x', sizeof(text));
    text[MUX_AGAIN + 1] = 0;
    print(0, text);
    shown();
    print(2, "boot\n");
    CHECK(strcmp(shown(), "\r\nclient| boot\r\n") == 0);
    print(0, "y\n");
    CHECK(strcmp(shown(), "server+ y\r\n") == 0);
}

CASE(an_unfinished_line_is_ended_also_when_its_console_has_lost_the_keyboard)
{
    start_mux();
    print(0, "/ # ");
    CHECK(strcmp(shown(), "server| / # ") == 0);
    CHECK(mux_input(&mux, MUX_ESCAPE, 0) && mux_input(&mux, '2', 0));
    print(1, "5 x 0\n");
    CHECK(strcmp(shown(), "\r\nserver.control| 5 x 0\r\n") == 0);
    print(0, "late\n");
    CHECK(strcmp(shown(), "server+ late\r\n") == 0);
}

CASE(a_person_who_types_gets_terminal_control_from_that_console_alone)
{
    start_mux();
    print(0, "a\rb\x1b[2J\n");
    CHECK(strcmp(shown(), "server| a\\x0db\\x1b[2J\r\n") == 0);
    CHECK(mux_input(&mux, 'x', 0));
    print(0, "a\rb\x1b[2J\n");
    print(2, "a\rb\x1b[2J\n");
    CHECK(strcmp(shown(), "client| a\\x0db\\x1b[2J\r\nserver| a\rb\x1b[2J\r\n") == 0);
}

CASE(a_guest_cannot_print_the_mark_of_a_tail)
{
    start_mux();
    CHECK(mux_input(&mux, 'x', 0));
    print(0, "a\\b`c\n");
    const char *out = raw_line();
    CHECK(strncmp(out, "server| a\\\\b\\x60c `0", 20) == 0);
    CHECK(strchr(out, '`') == strrchr(out, '`'));
}

CASE(carriage_returns_within_a_line_stay_and_those_before_its_end_go)
{
    start_mux();
    CHECK(mux_input(&mux, 'x', 0));
    print(0, "/ # ls");
    CHECK(strcmp(shown(), "server| / # ls") == 0);
    print(0, "\r/ # id\r");
    CHECK(strcmp(shown(), "\r/ # id") == 0);
    print(0, "\n/ # \r\r\n");
    CHECK(strcmp(shown(), "\r\nserver| / # \r\r\n") == 0);
}

CASE(a_long_line_is_cut_into_marked_pieces)
{
    char text[2 * FRAME_BODY];
    start_mux();
    memset(text, 'x', sizeof(text));
    text[FRAME_BODY + 9] = '\n';
    text[FRAME_BODY + 10] = 0;
    print(2, text);
    const char *out = shown();
    CHECK(strncmp(out, "client| xxx", 11) == 0);
    const char *rest = strstr(out, "\r\nclient+ xxxxxxxxx");
    CHECK(rest != NULL);
    EQUAL(strlen(out), 8 + FRAME_BODY + 9 + 2 + 8 + 2);
}

CASE(a_piece_of_escapes_fits_a_frame)
{
    char text[FRAME_BODY + 2];
    start_mux();
    memset(text, '\x01', sizeof(text));
    text[FRAME_BODY] = '\n';
    text[FRAME_BODY + 1] = 0;
    print(2, text);
    uint32_t pieces = 0;
    for (const char *at = shown(); (at = strstr(at, "client")) != NULL; at++) {
        pieces++;
    }
    EQUAL(pieces, 5);
}

CASE(a_name_of_any_legal_length_is_whole)
{
    static const char name[] = "a123456789012345678901234567890b.control";
    static struct charq_port ring;
    start_mux();
    EQUAL(sizeof(name) - 1, MUX_NAME);
    EQUAL(mux_add(&mux, name, true, &ring), 3);
    EQUAL(mux_add(&mux, "a123456789012345678901234567890bc.control", true, &ring), MUX_MAX_PORTS);
    struct charq_end out;
    charq_attach(&out, &ring.out, ring.out_bytes, CHARQ_OUT_BYTES);
    charq_write(&out, (const uint8_t *)"up\n", 3);
    CHECK(strcmp(shown(), "a123456789012345678901234567890b.control| up\r\n") == 0);
}

static void type(const char *keys)
{
    for (; *keys != 0; keys++) {
        CHECK(mux_input(&mux, (uint8_t)*keys, 0));
    }
}

/* A frame as a program sends it. */
static void send(uint32_t port, uint32_t sequence, bool flag, const char *body)
{
    uint8_t frame[FRAME_BODY + FRAME_TAIL];
    struct frame_tail tail = {port, (uint32_t)strlen(body), sequence, flag};
    memcpy(frame, body, tail.length);
    frame_seal(frame, tail.length, &tail);
    CHECK(mux_input(&mux, MUX_FRAME, 0));
    for (uint32_t i = 0; i < tail.length + FRAME_TAIL; i++) {
        CHECK(mux_input(&mux, frame[i], 0));
    }
    CHECK(mux_input(&mux, '\n', 0));
}

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
static void flood(uint32_t port)
{
    static const char text[] = "a line of some length that is printed again and again and again\n";
    while (charq_write(&guest_out[port], (const uint8_t *)text, sizeof(text) - 1) == sizeof(text) - 1) {
    }
}

CASE(an_answer_of_a_control_channel_does_not_wait_for_floods)
{
    start_mux();
    send(1, 1, false, "5 aWQ=\\x0a");
    flood(0);
    flood(2);
    print(1, "5 x 0\n");
    const char *at = strstr(shown(), "server.control| 5 x 0");
    CHECK(at != NULL && at - serial <= (int)sizeof("server.control< taken\r\n"));
}

CASE(a_control_channel_that_was_asked_nothing_takes_turns)
{
    start_mux();
    flood(1);
    print(2, "alive\n");
    shown();
    const char *at = strstr(serial, "client| alive");
    CHECK(at != NULL && at - serial < 2 * 90);
}

CASE(control_channels_that_go_first_leave_consoles_their_share)
{
    start_mux();
    send(1, 1, false, "5 aWQ=\\x0a");
    flood(1);
    print(2, "alive\n");
    shown();
    const char *at = strstr(serial, "client| alive");
    CHECK(at != NULL && at - serial < (int)(MUX_AHEAD + MUX_FRAME_BYTES));
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

CASE(what_the_multiplexer_says_itself_tears_no_line)
{
    start_mux();
    print(0, "half");
    CHECK(strcmp(shown(), "server| half") == 0);
    fill(0);
    CHECK(!mux_input(&mux, 'y', 0));
    CHECK(mux_input(&mux, 'y', PATIENCE));
    print(0, " line\n");
    CHECK(strcmp(shown(), "\r\nserver< " MUX_NOTICE "\r\nserver| half line\r\n") == 0);
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

CASE(all_but_the_answers_keep_to_a_pace)
{
    uint32_t written = 0;
    start_mux();
    for (uint32_t round = 0; round < 100; round++) {
        flood(0);
        written += (uint32_t)strlen(raw_line());
    }
    CHECK(written >= MUX_BURST && written < MUX_BURST + MUX_FRAME_BYTES * 2);
    CHECK(mux_deadline(&mux) >= SECOND / 4 && mux_deadline(&mux) < SECOND / 4 + SECOND / 50);
    send(1, 1, false, "5 aWQ=\\x0a");
    print(1, "5 x 0\n");
    CHECK(strstr(shown(), "server.control| 5 x 0") != NULL);
    clock_now = mux_deadline(&mux);
    flood(0);
    CHECK(strlen(raw_line()) > CHARQ_OUT_BYTES / 2);
    clock_now += 3 * SECOND;
    raw_line();
    EQUAL(mux_deadline(&mux), MUX_NEVER);
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(lines_carry_the_name_of_their_console),
    NAMED(the_tail_of_a_line_is_the_documented_one),
    NAMED(a_line_is_never_torn),
    NAMED(a_prompt_appears_at_once_and_again_after_an_interruption),
    NAMED(an_unfinished_line_that_is_long_is_not_shown_again_and_again),
    NAMED(an_unfinished_line_is_ended_also_when_its_console_has_lost_the_keyboard),
    NAMED(a_person_who_types_gets_terminal_control_from_that_console_alone),
    NAMED(a_guest_cannot_print_the_mark_of_a_tail),
    NAMED(carriage_returns_within_a_line_stay_and_those_before_its_end_go),
    NAMED(a_long_line_is_cut_into_marked_pieces),
    NAMED(a_piece_of_escapes_fits_a_frame),
    NAMED(a_name_of_any_legal_length_is_whole),
    NAMED(a_frame_reaches_its_port_whoever_has_the_keyboard),
    NAMED(a_frame_that_is_sent_again_is_taken_once),
    NAMED(a_frame_that_finds_no_room_is_refused_at_once_and_whole),
    NAMED(a_damaged_frame_is_dropped_and_nothing_of_it_is_typed),
    NAMED(a_person_takes_the_line_back_from_a_program),
    NAMED(an_answer_of_a_control_channel_does_not_wait_for_floods),
    NAMED(a_control_channel_that_was_asked_nothing_takes_turns),
    NAMED(control_channels_that_go_first_leave_consoles_their_share),
    NAMED(the_keyboard_goes_where_it_was_sent),
    NAMED(keys_for_a_guest_that_reads_late_wait),
    NAMED(a_guest_that_does_not_read_cannot_keep_the_keyboard),
    NAMED(a_guest_that_reads_a_byte_now_and_then_cannot_keep_it_either),
    NAMED(what_the_multiplexer_says_itself_tears_no_line),
    NAMED(a_producer_that_waits_for_room_is_woken),
    NAMED(a_console_ring_with_a_senseless_index_is_empty_or_full),
    NAMED(all_but_the_answers_keep_to_a_pace),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
