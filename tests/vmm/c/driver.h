/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A guest's driver for the tests: a guest memory, and a split queue written the way a driver writes it.
 */
#ifndef DRIVER_H
#define DRIVER_H

#include "case.h"
#include "virtio_mmio.h"

#define RAM_BASE 0x40000000ULL
#define RAM_BYTES 0x100000u
#define RING(n) (RAM_BASE + 0x1000ULL * (4 * (n)))
#define DATA (RAM_BASE + 0x20000)

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

static uint8_t guest_bytes[RAM_BYTES] __attribute__((aligned(4096)));
static const struct guest_ram ram = {RAM_BASE, RAM_BYTES, guest_bytes};

static inline uint8_t *at(uint64_t gpa)
{
    uint8_t *p = ram_at(&ram, gpa, 1);
    CHECK(p != NULL);
    return p;
}

static inline void put16(uint64_t gpa, uint16_t value)
{
    memcpy(at(gpa), &value, 2);
}

static inline uint16_t get16(uint64_t gpa)
{
    uint16_t value;
    memcpy(&value, at(gpa), 2);
    return value;
}

static inline uint32_t get32(uint64_t gpa)
{
    uint32_t value;
    memcpy(&value, at(gpa), 4);
    return value;
}

/* Queue n of the driver: descriptors at RING(n), available ring a page on, used ring two pages on. */
static inline uint64_t avail_of(uint32_t n)
{
    return RING(n) + 0x1000;
}

static inline uint64_t used_of(uint32_t n)
{
    return RING(n) + 0x2000;
}

static inline void describe_at(uint64_t table, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
                               uint16_t next)
{
    memcpy(at(table + 16u * i), &addr, 8);
    memcpy(at(table + 16u * i + 8), &len, 4);
    put16(table + 16u * i + 12, flags);
    put16(table + 16u * i + 14, next);
}

static inline void describe(uint32_t n, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags,
                            uint16_t next)
{
    describe_at(RING(n), i, addr, len, flags, next);
}

/* Makes a chain available; size is the queue's. */
static inline void offer(uint32_t n, uint16_t size, uint16_t head)
{
    uint16_t index = get16(avail_of(n) + 2);
    put16(avail_of(n) + 4 + 2u * (index % size), head);
    put16(avail_of(n) + 2, (uint16_t)(index + 1));
}

static inline uint16_t used_index(uint32_t n)
{
    return get16(used_of(n) + 2);
}

static inline uint32_t used_length(uint32_t n, uint16_t size, uint16_t i)
{
    return get32(used_of(n) + 4 + 8u * (i % size) + 4);
}

static inline uint32_t used_head(uint32_t n, uint16_t size, uint16_t i)
{
    return get32(used_of(n) + 4 + 8u * (i % size));
}

/* Brings a device up with these features and queues of this size, as the specification's 3.1.1 has it. */
static inline void bring_up(struct virtio_device *dev, uint64_t features, uint16_t size)
{
    memset(guest_bytes, 0, sizeof(guest_bytes));
    virtio_mmio_write(dev, 0x70, 4, 0);
    virtio_mmio_write(dev, 0x70, 4, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    features |= VIRTIO_F_VERSION_1;
    for (uint32_t half = 0; half < 2; half++) {
        virtio_mmio_write(dev, 0x24, 4, half);
        virtio_mmio_write(dev, 0x20, 4, features >> (32 * half));
    }
    virtio_mmio_write(dev, 0x70, 4, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
    CHECK(virtio_mmio_read(dev, 0x70, 4) & VIRTIO_FEATURES_OK);
    for (uint32_t n = 0; n < dev->queues; n++) {
        const uint64_t places[3] = {RING(n), avail_of(n), used_of(n)};
        virtio_mmio_write(dev, 0x30, 4, n);
        virtio_mmio_write(dev, 0x38, 4, size);
        for (uint32_t part = 0; part < 3; part++) {
            virtio_mmio_write(dev, 0x80 + 0x10 * part, 4, places[part] & 0xffffffff);
            virtio_mmio_write(dev, 0x84 + 0x10 * part, 4, places[part] >> 32);
        }
        virtio_mmio_write(dev, 0x44, 4, 1);
        EQUAL(virtio_mmio_read(dev, 0x44, 4), 1);
    }
    virtio_mmio_write(dev, 0x70, 4, 0xf);
}

#endif
