/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The virtio-mmio transport, version 2 (virtio 1.2, 4.2), and the device status machine (2.1, 3.1).
 * A device fills in struct virtio_ops; it is called only for a driver that has set DRIVER_OK.
 */

#include "virtqueue.h"

#define VIRTIO_MAX_QUEUES 3u
#define VIRTIO_MMIO_LENGTH 0x200u

enum virtio_status {
    VIRTIO_ACKNOWLEDGE = 1,
    VIRTIO_DRIVER = 2,
    VIRTIO_DRIVER_OK = 4,
    VIRTIO_FEATURES_OK = 8,
    VIRTIO_NEEDS_RESET = 64,
    VIRTIO_FAILED = 128,
};

#define VIRTIO_F_INDIRECT_DESC (1ULL << 28)
#define VIRTIO_F_EVENT_IDX (1ULL << 29)
#define VIRTIO_F_VERSION_1 (1ULL << 32)

struct virtio_device;

struct virtio_ops {
    /* The driver rang the doorbell of a started queue. */
    void (*notify)(struct virtio_device *dev, uint32_t queue);
    /* The driver reset the device: forget everything that came from it. May be NULL. */
    void (*reset)(struct virtio_device *dev);
    /* The driver set DRIVER_OK; the negotiated features are in dev->features. May be NULL. */
    void (*started)(struct virtio_device *dev);
};

struct virtio_device {
    const struct virtio_ops *ops;
    void *owner; /* the device that this transport belongs to */
    const struct guest_ram *ram;
    uint32_t id; /* virtio device type: 1 net, 3 console, 19 vsock */
    uint32_t queues;
    uint64_t offered;  /* features the device has */
    uint64_t features; /* features the driver asked for; what was negotiated once FEATURES_OK is set */
    const uint8_t *config;
    uint32_t config_len;
    uint32_t status;
    uint32_t interrupt; /* InterruptStatus: bit 0 used buffer, bit 1 configuration change */
    uint32_t feature_select;
    uint32_t driver_feature_select;
    uint32_t queue_select;
    struct virtq queue[VIRTIO_MAX_QUEUES];
    uint64_t bad_accesses; /* accesses that the specification forbids or does not know */
    uint64_t breaches;     /* queues that the driver broke */
};

void virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, void *owner,
                 const struct guest_ram *ram, uint32_t id, uint32_t queues, uint64_t features,
                 const void *config, uint32_t config_len);

uint64_t virtio_mmio_read(struct virtio_device *dev, uint64_t offset, uint32_t size);
void virtio_mmio_write(struct virtio_device *dev, uint64_t offset, uint32_t size, uint64_t value);

/* As if the driver had written 0 to Status: the guest was restarted. */
void virtio_device_reset(struct virtio_device *dev);

/* Whether the driver runs and this queue may be used. */
bool virtio_live(const struct virtio_device *dev, uint32_t queue);

/* After work on a queue: raises the interrupt if the guest asked for one, and DEVICE_NEEDS_RESET if the queue
 * broke. */
void virtio_settle(struct virtio_device *dev, uint32_t queue);

/* The level of the device's interrupt line. */
static inline bool virtio_line(const struct virtio_device *dev)
{
    return dev->interrupt != 0;
}
