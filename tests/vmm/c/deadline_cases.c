/* SPDX-License-Identifier: BSD-2-Clause */

/* The timer's deadlines, and interrupts that no deadline asked for. */
#include "case.h"
#include "deadlines.h"

#define NEVER UINT64_MAX

static struct deadlines deadlines;
static uint64_t next;

CASE(each_client_is_told_once_and_the_next_deadline_is_known)
{
    deadlines_init(&deadlines, 1ULL << 1 | 1ULL << 2 | 1ULL << 61);
    EQUAL(deadlines_due(&deadlines, 1000, &next), 0);
    EQUAL(next, NEVER);
    deadlines_set(&deadlines, 1, 100);
    deadlines_set(&deadlines, 2, 300);
    deadlines_set(&deadlines, 61, 200);
    EQUAL(deadlines_due(&deadlines, 99, &next), 0);
    EQUAL(next, 100);
    EQUAL(deadlines_due(&deadlines, 200, &next), 1ULL << 1 | 1ULL << 61);
    EQUAL(next, 300);
    EQUAL(deadlines_due(&deadlines, 200, &next), 0);
    deadlines_set(&deadlines, 2, 400);
    EQUAL(deadlines_due(&deadlines, 399, &next), 0);
    EQUAL(next, 400);
}

CASE(who_is_no_client_has_no_deadline)
{
    deadlines_init(&deadlines, 1ULL << 1);
    deadlines_set(&deadlines, 0, 1);
    deadlines_set(&deadlines, 62, 1);
    deadlines_set(&deadlines, 0xffffffff, 1);
    EQUAL(deadlines_due(&deadlines, 1000, &next), 0);
    EQUAL(next, NEVER);
}

CASE(interrupts_that_nobody_asked_for_end_until_the_next_tick)
{
    deadlines_init(&deadlines, 2);
    for (uint32_t tick = 0; tick < 3; tick++) {
        for (uint32_t i = 0; i < DEADLINES_IDLE; i++) {
            CHECK(deadlines_answer(&deadlines, false));
            CHECK(deadlines_answer(&deadlines, true));
        }
        for (uint32_t i = 0; i < 3; i++) {
            CHECK(!deadlines_answer(&deadlines, false));
        }
        deadlines_tick(&deadlines);
    }
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(each_client_is_told_once_and_the_next_deadline_is_known),
    NAMED(who_is_no_client_has_no_deadline),
    NAMED(interrupts_that_nobody_asked_for_end_until_the_next_tick),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
