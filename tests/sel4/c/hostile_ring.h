/* SPDX-License-Identifier: BSD-2-Clause */

/* Queues of 256 entries as a good driver uses them. */
#ifndef HOSTILE_RING_H
#define HOSTILE_RING_H

#include "hostile_machine.h"

#define ENTRIES 256u

struct ring {
    uint64_t device;
    uint64_t at;
    uint32_t index;
    uint16_t given;
    uint16_t seen;
};

static inline void set_descriptor(const struct ring *ring, uint32_t index, struct descriptor descriptor)
{
    ((volatile struct descriptor *)ring->at)[index] = descriptor;
}

static inline void give(struct ring *ring, uint16_t head)
{
    volatile uint16_t *avail = (volatile uint16_t *)(ring->at + 0x1000);
    avail[2 + ring->given % ENTRIES] = head;
    __asm__ volatile("dmb ish" ::: "memory");
    avail[1] = ++ring->given;
}

static inline uint16_t used_by_device(const struct ring *ring)
{
    return ((const volatile uint16_t *)(ring->at + 0x2000))[1];
}

static inline void ring_the_doorbell(const struct ring *ring)
{
    set(ring->device, 0x50, ring->index);
}

/* Resets a device and gives it its first `count` queues, which take 16 KiB each from `rings` on. */
static inline void start_device(uint64_t device, uint64_t rings, struct ring *queues, uint32_t count)
{
    for (uint32_t i = 0; i < 0x4000 * count; i += 8) {
        *(volatile uint64_t *)(rings + i) = 0;
    }
    set(device, 0x70, 0);
    set(device, 0x70, 3);
    set(device, 0x24, 0);
    set(device, 0x20, 0);
    set(device, 0x24, 1);
    set(device, 0x20, 1);
    set(device, 0x70, 0xb);
    for (uint32_t queue = 0; queue < count; queue++) {
        uint64_t at = rings + 0x4000ULL * queue;
        queues[queue] = (struct ring){.device = device, .at = at, .index = queue};
        set(device, 0x30, queue);
        set(device, 0x38, ENTRIES);
        for (uint32_t part = 0; part < 3; part++) {
            set(device, 0x80 + 0x10 * part, (uint32_t)(at + 0x1000 * part));
            set(device, 0x84 + 0x10 * part, (uint32_t)((at + 0x1000 * part) >> 32));
        }
        set(device, 0x44, 1);
    }
    set(device, 0x70, 0xf);
}

#endif
