/* SPDX-License-Identifier: BSD-2-Clause */

/* Attacks on the virtio devices: their registers, their queues, their doorbells. */
#ifndef HOSTILE_QUEUES_H
#define HOSTILE_QUEUES_H

#include "hostile_machine.h"

#define QUEUES 3u /* a device may have fewer */

static inline uint64_t some_device(void)
{
    return NET + (uint64_t)below(3) * STRIDE;
}

/* Any register of any device, one that is not there among them, at any width and alignment. */
static inline void registers(void)
{
    for (uint32_t i = 0; i < 64; i++) {
        uint64_t device = NET + (uint64_t)below(5) * STRIDE;
        uint32_t width = 1u << below(4);
        uint64_t address = device + (below(STRIDE) & (below(8) == 0 ? ~0u : ~(width - 1)));
        if (below(2)) {
            poke(address, width, awkward());
        } else {
            peek(address, width);
        }
    }
}

/* An address in our RAM, at its edges, or where we have no business. */
static inline uint64_t some_address(void)
{
    switch (below(10)) {
    case 0:
        return RAM_BASE + RAM_SIZE - below(64);
    case 1:
        return RAM_BASE - below(64);
    case 2:
        return NET + below(0x1000);
    case 3:
        return ~0ULL - below(0x2000);
    case 4:
        return (uint64_t)below(4) << 30 | below(0x10000); /* other guests, the kernel */
    case 5:
        return 0x100000000ULL + any() % 0x1000000000ULL; /* the monitor's own mappings */
    case 6:
        return any();
    default:
        return PLAYGROUND + below(PLAYGROUND_BYTES);
    }
}

static inline uint32_t some_length(void)
{
    switch (below(8)) {
    case 0:
        return 0xffffffff - below(32);
    case 1:
        return (uint32_t)RAM_SIZE + below(3) - 1;
    case 2:
        return 0;
    case 3:
        return below(0x20000);
    default:
        return below(2048);
    }
}

static inline void fill_with_descriptors(uint64_t table, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        volatile struct descriptor *d = (volatile struct descriptor *)(table + 16ULL * i);
        d->address = below(3) ? PLAYGROUND + (below(PLAYGROUND_BYTES) & ~15u) : some_address();
        d->length = below(3) ? 16 * below(64) : some_length();
        d->flags = (uint16_t)(below(6) ? below(8) : any());
        d->next = (uint16_t)(below(4) ? below(count) : any());
    }
}

/* A queue whose rings may lie anywhere, over each other, over their own buffers. */
static inline void set_up_queue(uint64_t device, uint32_t queue, uint32_t size, uint64_t places[3])
{
    for (uint32_t part = 0; part < 3; part++) {
        places[part] = PLAYGROUND + (below(PLAYGROUND_BYTES - 0x2000) & ~15u);
    }
    if (below(8) == 0) {
        places[below(3)] = some_address();
    }
    if (below(6) == 0) {
        places[2] = places[below(2)];
    }
    set(device, 0x30, queue);
    set(device, 0x38, size);
    for (uint32_t part = 0; part < 3; part++) {
        set(device, 0x80 + 0x10 * part, (uint32_t)places[part]);
        set(device, 0x84 + 0x10 * part, (uint32_t)(places[part] >> 32));
    }
    set(device, 0x44, 1);
}

static inline bool in_playground(uint64_t address)
{
    return address >= PLAYGROUND && address < PLAYGROUND + PLAYGROUND_BYTES;
}

/* The status and feature steps of a driver, some of them left out or done twice. */
static inline void negotiate(uint64_t device)
{
    set(device, 0x70, 0);
    set(device, 0x70, 3);
    for (uint32_t half = 0; half < 2; half++) {
        set(device, 0x14, half);
        set(device, 0x24, half);
        uint32_t offered = get(device, 0x10);
        set(device, 0x20, half == 1 ? offered : offered & (uint32_t)any());
    }
    if (below(10) == 0) {
        set(device, 0x20, (uint32_t)any());
    }
    set(device, 0x70, 0xb);
}

static inline void queues(void)
{
    uint64_t device = some_device();
    uint64_t places[QUEUES][3];
    uint32_t size = 1u << below(9);
    negotiate(device);
    for (uint32_t queue = 0; queue < QUEUES; queue++) {
        set_up_queue(device, queue, below(10) ? size : (uint32_t)awkward(), places[queue]);
    }
    set(device, 0x70, 0xf);
    for (uint32_t round = 0; round < 12; round++) {
        uint32_t queue = below(QUEUES);
        if (in_playground(places[queue][0])) {
            fill_with_descriptors(places[queue][0], size);
        }
        if (in_playground(places[queue][1])) {
            volatile uint16_t *avail = (volatile uint16_t *)places[queue][1];
            for (uint32_t i = 0; i < size; i++) {
                avail[2 + i] = (uint16_t)(below(8) ? below(size) : any());
            }
            avail[0] = (uint16_t)below(3);
            avail[2 + size] = (uint16_t)any();
            avail[1] = (uint16_t)(avail[1] + (below(6) ? below(size + 1) : (uint32_t)any()));
        }
        for (uint32_t i = below(4); i > 0; i--) {
            set(device, 0x50, below(4) ? queue : (uint32_t)awkward());
        }
        switch (below(8)) {
        case 0:
            set(device, 0x64, get(device, 0x60));
            break;
        case 1:
            set(device, 0x70, (uint32_t)awkward() & 0xff);
            break;
        case 2:
            set(device, 0x44, 0);
            break;
        case 3:
            registers();
            break;
        default:
            break;
        }
    }
}

/* Nothing but doorbells, on queues that exist and on queues that do not. */
static inline void storm(void)
{
    uint64_t device = some_device();
    for (uint32_t i = 0; i < 2000; i++) {
        set(device, 0x50, i % 5 ? i % QUEUES : (uint32_t)any());
    }
}

#endif
