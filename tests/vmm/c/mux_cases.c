/* SPDX-License-Identifier: BSD-2-Clause */

/* The console multiplexer: what goes out on the line. */
#include "mux_stand.h"

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

CASE(a_remark_about_a_protection_domain_is_a_line_of_its_own)
{
    start_mux();
    print(0, "half");
    CHECK(strcmp(shown(), "server| half") == 0);
    CHECK(mux_remark(&mux, "protection domain '", "vmm_client", "' does not answer"));
    CHECK(!mux_remark(&mux, "", "another", ""));
    print(0, " line\n");
    CHECK(strcmp(shown(),
                 "\r\nsystem< protection domain 'vmm_client' does not answer\r\nserver| half line\r\n") == 0);
    CHECK(mux_remark(&mux, "protection domain '", "vmm_client", "' answers again"));
    CHECK(strncmp(raw_line(), "system< protection domain 'vmm_client' answers again `3", 55) == 0);
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
    NAMED(an_answer_of_a_control_channel_does_not_wait_for_floods),
    NAMED(a_control_channel_that_was_asked_nothing_takes_turns),
    NAMED(control_channels_that_go_first_leave_consoles_their_share),
    NAMED(what_the_multiplexer_says_itself_tears_no_line),
    NAMED(a_remark_about_a_protection_domain_is_a_line_of_its_own),
    NAMED(a_producer_that_waits_for_room_is_woken),
    NAMED(a_console_ring_with_a_senseless_index_is_empty_or_full),
    NAMED(all_but_the_answers_keep_to_a_pace),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
