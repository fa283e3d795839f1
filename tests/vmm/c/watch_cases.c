/* SPDX-License-Identifier: BSD-2-Clause */

/* Protection domains that do not answer are noticed; those that do are not. */
#include "case.h"
#include "pulse.h"
#include "watch.h"

#define SECOND 1000u
#define BEAT (WATCH_PERIOD * SECOND)

static struct watch watch;

static void start_watch(void)
{
    watch_init(&watch, 0, SECOND);
    watch_add(&watch, "a", WATCH_BEATS);
    watch_add(&watch, "b", WATCH_BEATS);
}

CASE(nobody_is_asked_before_it_is_time)
{
    start_watch();
    CHECK(!watch_is_due(&watch, BEAT - 1));
    CHECK(watch_is_due(&watch, BEAT));
    EQUAL(watch_ask(&watch, BEAT), 3);
    CHECK(!watch_is_due(&watch, 2 * BEAT - 1));
}

CASE(who_answers_each_time_is_never_news)
{
    start_watch();
    for (uint64_t beat = 1; beat < 100; beat++) {
        EQUAL(watch_ask(&watch, beat * BEAT), 3);
        watch_answered(&watch, 0);
        watch_answered(&watch, 1);
        CHECK(watch_news(&watch) == NULL);
    }
}

CASE(who_does_not_answer_is_news_once_and_again_when_it_does)
{
    start_watch();
    EQUAL(watch_ask(&watch, BEAT), 3);
    for (uint64_t beat = 2; beat <= WATCH_BEATS; beat++) {
        watch_answered(&watch, 0);
        EQUAL(watch_ask(&watch, beat * BEAT), 1);
        CHECK(watch_news(&watch) == NULL);
    }
    watch_answered(&watch, 0);
    EQUAL(watch_ask(&watch, (WATCH_BEATS + 1) * BEAT), 1);
    const struct watched *news = watch_news(&watch);
    CHECK(news == &watch.one[1] && news->late);
    for (uint64_t beat = 1; beat < 20; beat++) {
        watch_answered(&watch, 0);
        EQUAL(watch_ask(&watch, (WATCH_BEATS + 1 + beat) * BEAT), 1);
        CHECK(watch_news(&watch) == NULL);
    }
    watch_answered(&watch, 1);
    news = watch_news(&watch);
    CHECK(news == &watch.one[1] && !news->late);
    CHECK(watch_news(&watch) == NULL);
}

CASE(an_answer_before_the_news_was_given_takes_it_back)
{
    start_watch();
    for (uint64_t beat = 1; beat <= WATCH_BEATS + 1; beat++) {
        watch_ask(&watch, beat * BEAT);
    }
    watch_answered(&watch, 0);
    const struct watched *news = watch_news(&watch);
    CHECK(news == &watch.one[1]);
    CHECK(watch_news(&watch) == NULL);
}

CASE(each_has_its_own_number_of_questions)
{
    watch_init(&watch, 0, SECOND);
    watch_add(&watch, "a", WATCH_BEATS);
    watch_add(&watch, "b", WATCH_BEATS_ABOVE);
    for (uint64_t beat = 0; beat < WATCH_BEATS; beat++) {
        watch_ask(&watch, (beat + 1) * BEAT);
        EQUAL(watch_news(&watch) == &watch.one[1], beat == WATCH_BEATS_ABOVE);
    }
    watch_ask(&watch, (WATCH_BEATS + 1) * BEAT);
    CHECK(watch_news(&watch) == &watch.one[0]);
}

CASE(a_machine_that_stood_still_makes_nobody_late)
{
    start_watch();
    EQUAL(watch_ask(&watch, BEAT), 3);
    watch_ask(&watch, 1000 * BEAT);
    CHECK(watch_news(&watch) == NULL);
    CHECK(!watch_is_due(&watch, 1001 * BEAT - 1));
}

CASE(a_question_in_shared_memory_is_answered_whatever_the_other_side_wrote)
{
    struct pulse pulse = {0};
    CHECK(pulse_is_answered(&pulse));
    pulse_ask(&pulse);
    CHECK(!pulse_is_answered(&pulse));
    pulse_answer(&pulse);
    CHECK(pulse_is_answered(&pulse));
    pulse.answered = UINT32_MAX;
    pulse_ask(&pulse);
    CHECK(!pulse_is_answered(&pulse));
    pulse_answer(&pulse);
    CHECK(pulse_is_answered(&pulse));
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(nobody_is_asked_before_it_is_time),
    NAMED(who_answers_each_time_is_never_news),
    NAMED(who_does_not_answer_is_news_once_and_again_when_it_does),
    NAMED(an_answer_before_the_news_was_given_takes_it_back),
    NAMED(each_has_its_own_number_of_questions),
    NAMED(a_machine_that_stood_still_makes_nobody_late),
    NAMED(a_question_in_shared_memory_is_answered_whatever_the_other_side_wrote),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
