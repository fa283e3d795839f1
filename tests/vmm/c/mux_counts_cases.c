/* SPDX-License-Identifier: BSD-2-Clause */

/* The console multiplexer: questions for the switch's counters, and the answers. */
#include "mux_stand.h"

#define GUESTS 2u
#define SYSTEM 3u /* the port behind the last one */

static struct tally tally;

static void start_counts(void)
{
    start_mux();
    memset(&tally, 0, sizeof(tally));
    tally.kind = TALLY_FRAMES;
    tally.values = 5;
    for (uint32_t port = 0; port < GUESTS; port++) {
        for (uint32_t i = 0; i < TALLY_VALUES; i++) {
            tally.value[port][i] = 100 * port + i;
        }
    }
    mux_count(&mux, GUESTS);
}

static void answer(void)
{
    CHECK(mux_wants_counts(&mux));
    CHECK(!mux_wants_counts(&mux));
    mux_counted(&mux, &tally);
}

CASE(a_question_is_answered_once_the_switch_has_published)
{
    start_counts();
    send(SYSTEM, 7, false, MUX_COUNTS "1");
    CHECK(strcmp(shown(), "") == 0);
    answer();
    CHECK(strcmp(shown(), "system< counts 1 frames 0/5 100 101 102 103 104\r\n") == 0);
    CHECK(strcmp(shown(), "") == 0);
    CHECK(!mux_wants_counts(&mux));
    mux_counted(&mux, &tally); /* it also answers when it was asked whether it works */
    CHECK(strcmp(shown(), "") == 0);
}

CASE(the_answer_has_the_questions_sequence_and_the_systems_port)
{
    struct frame_tail tail;
    start_counts();
    send(SYSTEM, 7, false, MUX_COUNTS "0");
    answer();
    const char *line = raw_line();
    CHECK(frame_open((const uint8_t *)line, (uint32_t)strlen(line) - 2, &tail));
    EQUAL(tail.port, SYSTEM);
    EQUAL(tail.sequence, 7);
    CHECK(tail.flag);
}

CASE(the_largest_answer_takes_frames_of_its_own_and_no_number_is_cut)
{
    char expected[4096] = {0}, *end = expected;
    uint32_t frames = 0;
    start_counts();
    tally.kind = TALLY_PACKETS;
    tally.values = UINT32_MAX;
    for (uint32_t i = 0; i < TALLY_VALUES; i++) {
        tally.value[0][i] = UINT64_MAX;
    }
    send(SYSTEM, 1, false, MUX_COUNTS "0");
    answer();
    for (uint32_t first = 0; first < TALLY_VALUES; frames++) {
        end += sprintf(end, "system< counts 0 packets %u/48", first);
        for (uint32_t n = 0; n < 10 && first < TALLY_VALUES; n++, first++) {
            end += sprintf(end, " 18446744073709551615");
        }
        end += sprintf(end, "\r\n");
    }
    EQUAL(frames, 5);
    CHECK(strcmp(shown(), expected) == 0);
}

CASE(what_is_no_question_for_a_port_of_the_switch_is_ignored)
{
    const char *bad[] = {"",         "counts",   MUX_COUNTS, MUX_COUNTS "2", MUX_COUNTS "z", MUX_COUNTS "00",
                         "count s0", "Counts 0", MUX_KEYS};
    start_counts();
    for (uint32_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        send(SYSTEM, i, false, bad[i]);
        CHECK(!mux_wants_counts(&mux));
    }
    send(SYSTEM + 1, 1, false, MUX_COUNTS "0");
    CHECK(!mux_wants_counts(&mux));
    CHECK(strcmp(shown(), "") == 0);
}

CASE(a_system_without_counters_has_no_answer)
{
    start_mux();
    send(SYSTEM, 1, false, MUX_COUNTS "0");
    CHECK(!mux_wants_counts(&mux));
}

CASE(no_guest_can_ask_nor_answer)
{
    struct frame_tail tail = {SYSTEM, 8, 1, false};
    uint8_t frame[64] = "\x1e" MUX_COUNTS "0";
    char text[80];
    start_counts();
    frame_seal(frame + 1, 8, &tail);
    memcpy(text, frame, 1 + 8 + FRAME_TAIL);
    strcpy(text + 1 + 8 + FRAME_TAIL, "\nsystem< counts 0 frames 0/1 9\n");
    print(0, text);
    print(1, text);
    const char *line = shown();
    CHECK(!mux_wants_counts(&mux));
    CHECK(strstr(line, "\nsystem<") == NULL && strncmp(line, "system<", 7) != 0);
    CHECK(strstr(line, "server| system< counts 0 frames 0/1 9\r\n") != NULL);
}

CASE(what_was_read_while_the_switch_wrote_is_asked_for_again)
{
    start_counts();
    send(SYSTEM, 1, false, MUX_COUNTS "0");
    CHECK(mux_wants_counts(&mux));
    tally_begin(&tally);
    mux_counted(&mux, &tally);
    CHECK(strcmp(shown(), "") == 0);
    tally_end(&tally);
    answer();
    CHECK(strcmp(shown(), "system< counts 0 frames 0/5 0 1 2 3 4\r\n") == 0);
}

CASE(questions_without_end_ask_the_switch_once_for_each_answer)
{
    start_counts();
    uint32_t asked = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        send(SYSTEM, i, false, MUX_COUNTS "0");
        asked += mux_wants_counts(&mux);
    }
    EQUAL(asked, 1);
    mux_counted(&mux, &tally);
    for (uint32_t i = 0; i < 1000; i++) {
        send(SYSTEM, 2000 + i, false, MUX_COUNTS "1"); /* while the answer is written */
        CHECK(!mux_wants_counts(&mux));
    }
    CHECK(strcmp(shown(), "system< counts 0 frames 0/5 0 1 2 3 4\r\n") == 0);
}

CASE(answers_keep_to_the_pace_of_consoles)
{
    uint32_t written = 0;
    start_counts();
    tally.values = TALLY_VALUES;
    for (uint32_t i = 0; i < 10000 && mux_deadline(&mux) == MUX_NEVER; i++) {
        send(SYSTEM, i, false, MUX_COUNTS "0");
        answer();
        written += (uint32_t)strlen(raw_line());
    }
    CHECK(written >= MUX_BURST && written < MUX_BURST + 1000);
    send(SYSTEM, 1, false, MUX_COUNTS "0");
    mux_wants_counts(&mux);
    mux_counted(&mux, &tally);
    CHECK(strlen(raw_line()) == 0);
    clock_now = mux_deadline(&mux);
    CHECK(strlen(raw_line()) != 0);
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(a_question_is_answered_once_the_switch_has_published),
    NAMED(the_answer_has_the_questions_sequence_and_the_systems_port),
    NAMED(the_largest_answer_takes_frames_of_its_own_and_no_number_is_cut),
    NAMED(what_is_no_question_for_a_port_of_the_switch_is_ignored),
    NAMED(a_system_without_counters_has_no_answer),
    NAMED(no_guest_can_ask_nor_answer),
    NAMED(what_was_read_while_the_switch_wrote_is_asked_for_again),
    NAMED(questions_without_end_ask_the_switch_once_for_each_answer),
    NAMED(answers_keep_to_the_pace_of_consoles),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
