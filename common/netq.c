/* SPDX-License-Identifier: BSD-2-Clause */
#include "netq.h"

static uint32_t load(const uint32_t *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void store(uint32_t *p, uint32_t value)
{
    __atomic_store_n(p, value, __ATOMIC_RELEASE);
}

void netq_attach(struct netq_end *end, struct netq_ring *ring)
{
    end->ring = ring;
    end->at = end->shown = 0;
    end->breaches = 0;
}

uint32_t netq_room(struct netq_end *end)
{
    uint32_t used = end->at - load(&end->ring->tail);
    if (used > NETQ_ENTRIES) {
        end->breaches++;
        return 0;
    }
    return NETQ_ENTRIES - used;
}

void netq_put(struct netq_end *end, const struct netq_frame *frame)
{
    end->ring->entry[end->at % NETQ_ENTRIES] = *frame;
    end->at++;
}

bool netq_show(struct netq_end *end)
{
    if (end->shown == end->at) {
        return false;
    }
    end->shown = end->at;
    store(&end->ring->head, end->at);
    /* The new head must be visible before the sleeper's flag is read; netq_sleep does the same the other way.
     */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load(&end->ring->asleep) != 0 && __atomic_exchange_n(&end->ring->asleep, 0, __ATOMIC_ACQ_REL) != 0;
}

bool netq_await_room(struct netq_end *end)
{
    store(&end->ring->wants_room, 1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return netq_room(end) != 0;
}

bool netq_look(struct netq_end *end, struct netq_frame *frame)
{
    uint32_t waiting = load(&end->ring->head) - end->at;
    if (waiting == 0) {
        return false;
    }
    if (waiting > NETQ_ENTRIES) {
        end->breaches++;
        return false;
    }
    *frame = end->ring->entry[end->at % NETQ_ENTRIES];
    return true;
}

void netq_take(struct netq_end *end)
{
    end->at++;
}

bool netq_release(struct netq_end *end)
{
    if (end->shown == end->at) {
        return false;
    }
    end->shown = end->at;
    store(&end->ring->tail, end->at);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load(&end->ring->wants_room) != 0 &&
           __atomic_exchange_n(&end->ring->wants_room, 0, __ATOMIC_ACQ_REL) != 0;
}

bool netq_sleep(struct netq_end *end)
{
    store(&end->ring->asleep, 1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint32_t waiting = load(&end->ring->head) - end->at;
    return waiting != 0 && waiting <= NETQ_ENTRIES;
}

bool netq_awaited(const struct netq_end *end)
{
    return load(&end->ring->asleep) != 0;
}

void netq_pool_init(struct netq_pool *pool, uint32_t size)
{
    memset(pool, 0, sizeof(*pool));
    pool->size = size;
}

bool netq_pool_take(struct netq_pool *pool, uint32_t length, uint32_t *offset, uint16_t *ticket)
{
    uint32_t need = (length + 63u) & ~63u; /* frames start on cache lines */
    if (length == 0 || need < length || need > pool->size || pool->count == NETQ_ENTRIES) {
        return false;
    }
    uint32_t start = pool->head;
    if (pool->count == 0) {
        start = 0;
    } else {
        uint32_t oldest = pool->start[pool->first];
        if (start > oldest) {
            /* Free: from here to the end, and from the beginning to the oldest piece. */
            if (need > pool->size - start) {
                start = 0;
                if (need >= oldest) {
                    return false;
                }
            }
        } else if (start == oldest || need >= oldest - start) {
            /* Equal means full. A piece never ends where the oldest begins, so that it stays so. */
            return false;
        }
    }
    uint32_t slot = (pool->first + pool->count) % NETQ_ENTRIES;
    pool->start[slot] = start;
    pool->busy[slot] = true;
    pool->head = start + need;
    pool->count++;
    *offset = start;
    *ticket = (uint16_t)slot;
    return true;
}

bool netq_pool_give(struct netq_pool *pool, uint16_t ticket)
{
    if (ticket >= NETQ_ENTRIES || !pool->busy[ticket]) {
        return false;
    }
    pool->busy[ticket] = false;
    while (pool->count > 0 && !pool->busy[pool->first]) {
        pool->first = (pool->first + 1) % NETQ_ENTRIES;
        pool->count--;
    }
    return true;
}
