/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Console bytes between a VMM and the console: one ring per direction in two shared pages. Each side keeps
 * its own index in private memory, and uses the peer's only for a distance that it checks.
 */

#include "pulse.h"

#define CHARQ_OUT_BYTES 4096u /* towards the console */
#define CHARQ_IN_BYTES 1024u  /* towards the guest */
#define CHARQ_REGION_BYTES 0x2000u

struct charq_ring {
    uint32_t head;
    uint32_t wants_room;
    uint8_t line0[56];
    uint32_t tail;
    uint8_t line1[60];
};

struct charq_port {
    struct charq_ring out;
    struct charq_ring in;
    uint8_t out_bytes[CHARQ_OUT_BYTES];
    uint8_t in_bytes[CHARQ_IN_BYTES];
    struct pulse pulse; /* the console asks, the VMM answers */
};

_Static_assert(sizeof(struct charq_port) <= CHARQ_REGION_BYTES, "a console port fits its region");

struct charq_end {
    struct charq_ring *ring;
    uint8_t *bytes;
    uint32_t size; /* a power of two */
    uint32_t keep; /* producer: bytes that charq_write leaves free */
    uint32_t at;
};

static inline void charq_attach(struct charq_end *end, struct charq_ring *ring, uint8_t *bytes, uint32_t size)
{
    end->ring = ring;
    end->bytes = bytes;
    end->size = size;
    end->keep = end->at = 0;
}

/* Producer: bytes that were not read yet, `size` if the peer's index makes no sense. */
static inline uint32_t charq_used(const struct charq_end *end)
{
    uint32_t used = end->at - __atomic_load_n(&end->ring->tail, __ATOMIC_ACQUIRE);
    return used > end->size ? end->size : used;
}

static inline uint32_t charq_room(const struct charq_end *end, uint32_t keep)
{
    uint32_t taken = charq_used(end) + keep;
    return taken < end->size ? end->size - taken : 0;
}

/* Producer: writes up to n bytes but for the last `keep` of the ring, returns how many fitted. */
static inline uint32_t charq_write_keeping(struct charq_end *end, const uint8_t *from, uint32_t n,
                                           uint32_t keep)
{
    uint32_t room = charq_room(end, keep);
    n = n < room ? n : room;
    for (uint32_t i = 0; i < n; i++) {
        end->bytes[end->at++ & (end->size - 1)] = from[i];
    }
    __atomic_store_n(&end->ring->head, end->at, __ATOMIC_RELEASE);
    return n;
}

static inline uint32_t charq_write(struct charq_end *end, const uint8_t *from, uint32_t n)
{
    return charq_write_keeping(end, from, n, end->keep);
}

/* Producer: asks the consumer for a notification once it has read something; true if there is room already.
 */
static inline bool charq_await_room(struct charq_end *end)
{
    __atomic_store_n(&end->ring->wants_room, 1, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return charq_room(end, end->keep) != 0;
}

/* Consumer: the producer's index, which moves with each byte that is written, read or not. */
static inline uint32_t charq_written(const struct charq_end *end)
{
    return __atomic_load_n(&end->ring->head, __ATOMIC_ACQUIRE);
}

/* Consumer: reads up to n bytes, returns how many there were. */
static inline uint32_t charq_read(struct charq_end *end, uint8_t *to, uint32_t n)
{
    uint32_t waiting = charq_written(end) - end->at;
    if (waiting > end->size) {
        waiting = 0; /* the peer's index makes no sense */
    }
    n = n < waiting ? n : waiting;
    for (uint32_t i = 0; i < n; i++) {
        to[i] = end->bytes[end->at++ & (end->size - 1)];
    }
    __atomic_store_n(&end->ring->tail, end->at, __ATOMIC_RELEASE);
    return n;
}

/* Consumer: whether the producer waits for the room that was just made. */
static inline bool charq_made_room(struct charq_end *end)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&end->ring->wants_room, __ATOMIC_ACQUIRE) != 0 &&
           __atomic_exchange_n(&end->ring->wants_room, 0, __ATOMIC_ACQ_REL) != 0;
}
