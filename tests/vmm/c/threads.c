/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The rings between domains with a thread on each side, as with domains on several cores: every entry arrives
 * whole and in order, and nobody sleeps for ever. A side that is told to sleep does so until it is notified;
 * one that waits longer than PATIENCE has lost a notification.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <time.h>

#include "case.h"
#include "charq.h"
#include "netq.h"
#include "three_ports.h"

#ifndef ROUNDS
#define ROUNDS 20000u
#endif
#define HANDSHAKES (10 * ROUNDS)
#define PATIENCE 20 /* seconds */

static void notify(sem_t *side)
{
    CHECK(sem_post(side) == 0);
}

static void await(sem_t *side, const char *who)
{
    struct timespec end;
    /* Awake at once, as a domain on a core of its own is: the sides meet far more often than by way of the
     * host's scheduler. */
    for (uint32_t i = 0; i < 2000; i++) {
        if (sem_trywait(side) == 0) {
            return;
        }
    }
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += PATIENCE;
    if (sem_timedwait(side, &end) != 0) {
        printf("%s was never notified\n", who);
        exit(1);
    }
}

static uint32_t some(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525 + 1013904223;
    return (*seed >> 16) % below;
}

static void start(pthread_t *thread, void *(*run)(void *), void *argument)
{
    CHECK(pthread_create(thread, NULL, run, argument) == 0);
}

static void together(void *(*one)(void *), void *(*other)(void *))
{
    pthread_t threads[2];
    start(&threads[0], one, NULL);
    start(&threads[1], other, NULL);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

static struct netq_ring frames;
static sem_t producer, consumer;

static void *produce_frames(void *unused)
{
    struct netq_end end;
    uint32_t seed = 1;
    (void)unused;
    netq_attach(&end, &frames);
    for (uint32_t n = 0; n < ROUNDS;) {
        for (uint32_t batch = 1 + some(&seed, some(&seed, 4) == 0 ? 400 : 2);
             batch > 0 && n < ROUNDS && netq_room(&end) != 0; batch--) {
            netq_put(&end, &(struct netq_frame){.offset = n, .length = ~n, .ticket = (uint16_t)n});
            n++;
        }
        if (netq_show(&end)) {
            notify(&consumer);
        }
        if (netq_room(&end) == 0 && !netq_await_room(&end)) {
            await(&producer, "the producer of frames");
        }
    }
    EQUAL(end.breaches, 0);
    return NULL;
}

static void *consume_frames(void *unused)
{
    struct netq_end end;
    struct netq_frame frame;
    (void)unused;
    netq_attach(&end, &frames);
    for (uint32_t n = 0; n < ROUNDS;) {
        while (netq_look(&end, &frame)) {
            EQUAL(frame.offset, n);
            EQUAL(frame.length, ~n);
            EQUAL(frame.ticket, (uint16_t)n);
            netq_take(&end);
            n++;
        }
        if (netq_release(&end)) {
            notify(&producer);
        }
        if (n < ROUNDS && !netq_sleep(&end)) {
            await(&consumer, "the consumer of frames");
        }
    }
    EQUAL(end.breaches, 0);
    return NULL;
}

CASE(frames_cross_a_ring_between_two_threads)
{
    together(produce_frames, consume_frames);
}

static struct charq_port line;

static void *produce_bytes(void *unused)
{
    struct charq_end end;
    uint32_t seed = 1;
    (void)unused;
    charq_attach(&end, &line.in, line.in_bytes, CHARQ_IN_BYTES);
    for (uint32_t n = 0; n < 10 * ROUNDS;) {
        uint8_t bytes[100];
        uint32_t want = 1 + some(&seed, sizeof(bytes));
        for (uint32_t i = 0; i < want; i++) {
            bytes[i] = (uint8_t)((n + i) * 167);
        }
        uint32_t done = charq_write(&end, bytes, want);
        n += done;
        notify(&consumer);
        if (done < want && !charq_await_room(&end)) {
            await(&producer, "the producer of bytes");
        }
    }
    return NULL;
}

static void *consume_bytes(void *unused)
{
    struct charq_end end;
    uint8_t bytes[70];
    (void)unused;
    charq_attach(&end, &line.in, line.in_bytes, CHARQ_IN_BYTES);
    for (uint32_t n = 0; n < 10 * ROUNDS;) {
        uint32_t got = charq_read(&end, bytes, sizeof(bytes));
        for (uint32_t i = 0; i < got; i++, n++) {
            EQUAL(bytes[i], (uint8_t)(n * 167));
        }
        if (charq_made_room(&end)) {
            notify(&producer);
        }
        if (got == 0) {
            await(&consumer, "the consumer of bytes");
        }
    }
    return NULL;
}

CASE(bytes_cross_a_ring_between_two_threads)
{
    together(produce_bytes, consume_bytes);
}

static sem_t vmms[PORTS], switch_side;
static uint32_t finished; /* receivers */

/* The VMM of port 0: to 1 and 2 in turn, each frame with its number. As virtio_net.c does it. */
static void *send_frames(void *unused)
{
    static struct netq_pool pool;
    struct netq_end tx, tx_done;
    struct netq_frame frame;
    (void)unused;
    netq_attach(&tx, &shared[0].tx);
    netq_attach(&tx_done, &shared[0].tx_done);
    netq_pool_init(&pool, POOL_BYTES);
    for (uint32_t n = 0; n < ROUNDS;) {
        while (netq_look(&tx_done, &frame)) {
            CHECK(netq_pool_give(&pool, frame.ticket));
            netq_take(&tx_done);
        }
        netq_release(&tx_done);
        struct netq_frame out = {.length = 60};
        if (netq_room(&tx) != 0 && netq_pool_take(&pool, out.length, &out.offset, &out.ticket)) {
            compose(out.offset, 1 + (int)(n & 1));
            memcpy(pools[0] + out.offset + 42, &n, sizeof(n));
            netq_put(&tx, &out);
            n++;
        } else if (!netq_sleep(&tx_done)) {
            netq_show(&tx);
            notify(
                &switch_side); /* it collects bytes at once only when it knows that somebody waits for them */
            await(&vmms[0], "the sender");
        }
        if (n % 7 == 0 && netq_show(&tx)) {
            notify(&switch_side);
        }
    }
    if (netq_show(&tx)) {
        notify(&switch_side);
    }
    return NULL;
}

static void *receive_frames(void *of)
{
    uint32_t port = *(const uint32_t *)of;
    struct netq_end rx, rx_done;
    struct netq_frame frame;
    netq_attach(&rx, &shared[port].rx);
    netq_attach(&rx_done, &shared[port].rx_done);
    for (uint32_t next = port - 1; next < ROUNDS;) {
        while (netq_look(&rx, &frame)) {
            uint32_t number;
            EQUAL(frame.owner, 0);
            memcpy(&number, pools[0] + frame.offset + 42, sizeof(number));
            EQUAL(number, next);
            next += 2;
            CHECK(netq_room(&rx_done) != 0);
            netq_put(&rx_done, &frame);
            netq_take(&rx);
        }
        bool again = netq_sleep(&rx);
        bool wake = netq_release(&rx);
        wake = netq_show(&rx_done) || wake;
        if (wake) {
            notify(&switch_side);
        }
        if (!again && next < ROUNDS) {
            await(&vmms[port], "a receiver");
        }
    }
    __atomic_fetch_add(&finished, 1, __ATOMIC_SEQ_CST);
    notify(&switch_side);
    return NULL;
}

static void *run_switch(void *unused)
{
    (void)unused;
    while (__atomic_load_n(&finished, __ATOMIC_SEQ_CST) < PORTS - 1) {
        bool again;
        do {
            uint64_t wake;
            again = forward_pass(&forward, 0, &wake);
            for (; wake != 0; wake &= wake - 1) {
                notify(&vmms[__builtin_ctzll(wake)]);
            }
        } while (again);
        await(&switch_side, "the switch");
    }
    return NULL;
}

CASE(frames_cross_the_switch_between_four_threads)
{
    static const uint32_t receivers[2] = {1, 2};
    pthread_t threads[4];
    CHECK(forward_init(&forward, &config, wires, 1000000) == NULL);
    start(&threads[0], run_switch, NULL);
    start(&threads[1], send_frames, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        start(&threads[2 + i], receive_frames, (void *)(uintptr_t)&receivers[i]);
    }
    for (uint32_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    for (uint32_t p = 0; p < PORTS; p++) {
        EQUAL(forward.breaches[p], 0);
    }
}

/*
 * The four handshakes, each alone and with both sides at once: one side puts or takes, the other is about to
 * sleep. Either the sleeper sees what came or the other is told to notify it. A processor that lets a load
 * pass an earlier store, as all do, makes both miss it where a full fence is missing.
 */
static uint32_t arrived;
static bool told, saw;

static void meet(uint32_t *round)
{
    *round += 2;
    __atomic_fetch_add(&arrived, 1, __ATOMIC_ACQ_REL);
    for (uint32_t i = 0; __atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < *round; i++) {
        if (i > 1000) {
            sched_yield();
        }
    }
}

enum handshake { FRAME, FRAME_ROOM, BYTE_ROOM };

struct sides {
    enum handshake which;
    struct netq_end producer, consumer;
    struct charq_end writer, reader;
};

static void *meet_the_sleeper(void *argument)
{
    struct sides *s = argument;
    struct netq_frame frame = {0};
    uint8_t byte;
    for (uint32_t n = 0, round = 0; n < HANDSHAKES; n++) {
        meet(&round);
        switch (s->which) {
        case FRAME:
            netq_put(&s->producer, &frame);
            told = netq_show(&s->producer);
            break;
        case FRAME_ROOM:
            CHECK(netq_look(&s->consumer, &frame));
            netq_take(&s->consumer);
            told = netq_release(&s->consumer);
            break;
        case BYTE_ROOM:
            EQUAL(charq_read(&s->reader, &byte, 1), 1);
            told = charq_made_room(&s->reader);
            break;
        }
        meet(&round);
        meet(&round);
    }
    return NULL;
}

static void handshakes(enum handshake which)
{
    static struct netq_ring ring;
    static struct charq_port port;
    static struct sides s;
    const struct netq_frame frame = {0};
    struct netq_frame taken;
    pthread_t other;
    s.which = which;
    netq_attach(&s.producer, &ring);
    netq_attach(&s.consumer, &ring);
    charq_attach(&s.writer, &port.in, port.in_bytes, CHARQ_IN_BYTES);
    charq_attach(&s.reader, &port.in, port.in_bytes, CHARQ_IN_BYTES);
    while (which == FRAME_ROOM && netq_room(&s.producer) != 0) {
        netq_put(&s.producer, &frame);
    }
    netq_show(&s.producer);
    while (which == BYTE_ROOM && charq_write(&s.writer, (const uint8_t *)"x", 1) == 1) {
    }
    start(&other, meet_the_sleeper, &s);
    for (uint32_t n = 0, round = 0; n < HANDSHAKES; n++) {
        meet(&round);
        saw = which == FRAME        ? netq_sleep(&s.consumer)
              : which == FRAME_ROOM ? netq_await_room(&s.producer)
                                    : charq_await_room(&s.writer);
        meet(&round);
        CHECK(saw || told);
        /* As before: awake, the ring empty or full. */
        ring.asleep = ring.wants_room = port.in.wants_room = 0;
        if (which == FRAME) {
            CHECK(netq_look(&s.consumer, &taken));
            netq_take(&s.consumer);
            netq_release(&s.consumer);
        } else if (which == FRAME_ROOM) {
            netq_put(&s.producer, &frame);
            netq_show(&s.producer);
        } else {
            EQUAL(charq_write(&s.writer, (const uint8_t *)"x", 1), 1);
        }
        meet(&round);
    }
    pthread_join(other, NULL);
}

CASE(who_is_about_to_sleep_sees_a_frame_or_is_notified)
{
    handshakes(FRAME);
}

CASE(who_is_about_to_wait_for_room_sees_some_or_is_notified)
{
    handshakes(FRAME_ROOM);
}

CASE(who_is_about_to_wait_for_room_for_bytes_sees_some_or_is_notified)
{
    handshakes(BYTE_ROOM);
}

#define NAMED(name)                                                                                          \
    {                                                                                                        \
#name, name                                                                                          \
    }
int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        NAMED(frames_cross_a_ring_between_two_threads),
        NAMED(bytes_cross_a_ring_between_two_threads),
        NAMED(frames_cross_the_switch_between_four_threads),
        NAMED(who_is_about_to_sleep_sees_a_frame_or_is_notified),
        NAMED(who_is_about_to_wait_for_room_sees_some_or_is_notified),
        NAMED(who_is_about_to_wait_for_room_for_bytes_sees_some_or_is_notified),
        {NULL, NULL},
    };
    return run_case(cases, argc, argv);
}
