/* SPDX-License-Identifier: BSD-2-Clause */

/* How long a guest that was sent something runs before others. */
#include "burst.h"
#include "case.h"
#include "charq.h"
#include "freestanding.h"

#define SECOND 1000000u /* ticks of these tests' counter */
#define MS (SECOND / 1000)

static struct burst burst;

/* The guest is sent another byte. */
static void send(uint64_t now)
{
    burst_grant(&burst, burst.sent + 1, now);
}

static void start_burst(void)
{
    burst_init(&burst, 200 * MS, 100 * MS, 800 * MS, 2);
}

CASE(a_guest_that_is_sent_nothing_never_runs_before_others)
{
    start_burst();
    for (uint64_t now = 0; now < 10 * (uint64_t)SECOND; now += 10 * MS) {
        EQUAL(burst_settle(&burst, now % (30 * MS) != 0, now), BURST_NEVER);
        CHECK(!burst.first);
    }
}

CASE(a_guest_that_was_sent_something_runs_first_until_its_time_is_over)
{
    start_burst();
    burst_settle(&burst, false, 0);
    send(SECOND);
    EQUAL(burst_settle(&burst, true, SECOND), SECOND + 100 * MS);
    CHECK(burst.first);
    EQUAL(burst_settle(&burst, false, SECOND + 20 * MS), BURST_NEVER);
    CHECK(burst.first);
    EQUAL(burst_settle(&burst, true, SECOND + 150 * MS), SECOND + 200 * MS);
    CHECK(burst.first);
    EQUAL(burst_settle(&burst, true, SECOND + 200 * MS), BURST_NEVER);
    CHECK(!burst.first);
}

CASE(a_guest_that_computes_after_it_was_sent_something_has_its_share_and_no_more)
{
    start_burst();
    send(0);
    EQUAL(burst_settle(&burst, true, 0), 100 * MS);
    EQUAL(burst_settle(&burst, true, 99 * MS), 100 * MS);
    CHECK(burst.first);
    EQUAL(burst_settle(&burst, true, 100 * MS), BURST_NEVER);
    CHECK(!burst.first);
    EQUAL(burst_settle(&burst, true, 150 * MS), BURST_NEVER);
    CHECK(!burst.first);
}

CASE(a_guest_that_has_used_its_time_up_gets_more_once_there_is_enough_for_a_share)
{
    start_burst();
    uint64_t now = 0;
    do {
        send(now);
        burst_settle(&burst, true, now);
        now += 10 * MS;
    } while (burst.first);
    CHECK(now > 800 * MS && now < 2 * SECOND);
    uint64_t enough = now + 2 * (burst.account.owed - 700 * MS);
    send(enough - 20 * MS);
    burst_settle(&burst, true, enough - 20 * MS);
    CHECK(!burst.first);
    send(enough + 20 * MS);
    burst_settle(&burst, true, enough + 20 * MS);
    CHECK(burst.first);
}

CASE(when_a_guest_reads_what_it_was_sent_gives_it_nothing_more)
{
    static struct charq_port ring;
    struct charq_end console, guest;
    uint8_t byte;
    start_burst();
    charq_attach(&console, &ring.in, ring.in_bytes, CHARQ_IN_BYTES);
    charq_attach(&guest, &ring.in, ring.in_bytes, CHARQ_IN_BYTES);
    EQUAL(charq_write(&console, (const uint8_t *)"hoarded", 7), 7);
    burst_grant(&burst, charq_written(&guest), 0);
    burst_settle(&burst, true, 0);
    CHECK(burst.first);
    uint64_t now = 0;
    for (uint32_t i = 0; i < 7; i++) {
        now += SECOND;
        EQUAL(charq_read(&guest, &byte, 1), 1);
        burst_grant(&burst, charq_written(&guest), now);
        EQUAL(burst_settle(&burst, true, now), BURST_NEVER);
        CHECK(!burst.first);
    }
    EQUAL(charq_write(&console, &byte, 1), 1);
    burst_grant(&burst, charq_written(&guest), now);
    burst_settle(&burst, true, now);
    CHECK(burst.first);
}

CASE(time_asleep_is_not_charged)
{
    start_burst();
    for (uint64_t now = 0; now < 10 * (uint64_t)SECOND; now += 100 * MS) {
        send(now);
        burst_settle(&burst, true, now);
        CHECK(burst.first);
        burst_settle(&burst, false, now + 10 * MS);
    }
}

CASE(whatever_it_is_sent_a_guest_takes_no_more_than_its_part_of_the_time_first)
{
    for (uint64_t run = MS; run <= 512 * MS; run *= 2) {
        for (uint64_t sleep = 1; sleep <= 1024 * MS; sleep *= 4) {
            uint64_t now = 0, first = 0;
            const uint64_t end = 120 * (uint64_t)SECOND;
            start_burst();
            while (now < end) {
                for (uint64_t ran = 0; ran < run;) {
                    send(now);
                    uint64_t due = burst_settle(&burst, true, now);
                    uint64_t step = min_u64(run - ran, due == BURST_NEVER ? 10 * MS : due - now);
                    step = step == 0 ? 1 : step;
                    first += burst.first ? step : 0;
                    ran += step;
                    now += step;
                }
                burst_settle(&burst, false, now);
                now += sleep;
            }
            CHECK(first <= 800 * MS + now / 2 + now / 100);
        }
    }
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
static const struct test_case cases[] = {
    NAMED(a_guest_that_is_sent_nothing_never_runs_before_others),
    NAMED(a_guest_that_was_sent_something_runs_first_until_its_time_is_over),
    NAMED(a_guest_that_computes_after_it_was_sent_something_has_its_share_and_no_more),
    NAMED(a_guest_that_has_used_its_time_up_gets_more_once_there_is_enough_for_a_share),
    NAMED(when_a_guest_reads_what_it_was_sent_gives_it_nothing_more),
    NAMED(time_asleep_is_not_charged),
    NAMED(whatever_it_is_sent_a_guest_takes_no_more_than_its_part_of_the_time_first),
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    return run_case(cases, argc, argv);
}
