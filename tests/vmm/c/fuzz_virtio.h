/* SPDX-License-Identifier: BSD-2-Clause */

/* What the fuzzers of virtio devices share, and the two guests at one switch. */
#ifndef FUZZ_VIRTIO_H
#define FUZZ_VIRTIO_H

#include "virtio_mmio.h"

/* As a correct driver would: most inputs get nowhere otherwise. Queue n lies at base + step * n, and each of
 * its three parts has a quarter of the step. */
static inline void bring_up(struct virtio_device *dev, uint32_t queues, uint64_t base, uint32_t step,
                            uint64_t features, uint16_t size)
{
    virtio_mmio_write(dev, 0x70, 4, 0);
    virtio_mmio_write(dev, 0x70, 4, 3);
    for (uint32_t half = 0; half < 2; half++) {
        virtio_mmio_write(dev, 0x24, 4, half);
        virtio_mmio_write(dev, 0x20, 4, ((dev->offered & features) | VIRTIO_F_VERSION_1) >> (32 * half));
    }
    virtio_mmio_write(dev, 0x70, 4, 0xb);
    for (uint32_t n = 0; n < queues; n++) {
        virtio_mmio_write(dev, 0x30, 4, n);
        virtio_mmio_write(dev, 0x38, 4, size);
        for (uint32_t part = 0; part < 3; part++) {
            virtio_mmio_write(dev, 0x80 + 0x10 * part, 4, base + step * n + step / 4 * part);
            virtio_mmio_write(dev, 0x84 + 0x10 * part, 4, 0);
        }
        virtio_mmio_write(dev, 0x44, 4, 1);
    }
    virtio_mmio_write(dev, 0x70, 4, 0xf);
}

#endif
