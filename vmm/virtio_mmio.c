/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio_mmio.h"

enum {
    MAGIC_VALUE = 0x000,
    VERSION = 0x004,
    DEVICE_ID = 0x008,
    VENDOR_ID = 0x00c,
    DEVICE_FEATURES = 0x010,
    DEVICE_FEATURES_SEL = 0x014,
    DRIVER_FEATURES = 0x020,
    DRIVER_FEATURES_SEL = 0x024,
    QUEUE_SEL = 0x030,
    QUEUE_NUM_MAX = 0x034,
    QUEUE_NUM = 0x038,
    QUEUE_READY = 0x044,
    QUEUE_NOTIFY = 0x050,
    INTERRUPT_STATUS = 0x060,
    INTERRUPT_ACK = 0x064,
    STATUS = 0x070,
    QUEUE_DESC = 0x080, /* low word, high word four bytes on; likewise the next two */
    QUEUE_DRIVER = 0x090,
    QUEUE_DEVICE = 0x0a0,
    SHM_SEL = 0x0ac,
    SHM_LEN_LOW = 0x0b0,
    SHM_BASE_HIGH = 0x0bc,
    CONFIG_GENERATION = 0x0fc,
    CONFIG = 0x100,
};

enum { INTERRUPT_USED = 1, INTERRUPT_CONFIG = 2 };

void virtio_init(struct virtio_device *dev, const struct virtio_ops *ops, void *owner,
                 const struct guest_ram *ram, uint32_t id, uint32_t queues, uint64_t features,
                 const void *config, uint32_t config_len)
{
    memset(dev, 0, sizeof(*dev));
    dev->ops = ops;
    dev->owner = owner;
    dev->ram = ram;
    dev->id = id;
    dev->queues = (uint32_t)min_u64(queues, VIRTIO_MAX_QUEUES);
    dev->offered = features | VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC;
    dev->config = config;
    dev->config_len = config_len;
    virtio_device_reset(dev);
}

void virtio_device_reset(struct virtio_device *dev)
{
    dev->status = 0;
    dev->features = 0;
    dev->interrupt = 0;
    dev->feature_select = dev->driver_feature_select = dev->queue_select = 0;
    for (uint32_t i = 0; i < dev->queues; i++) {
        virtq_reset(&dev->queue[i], dev->ram);
    }
    if (dev->ops->reset != NULL) {
        dev->ops->reset(dev);
    }
}

bool virtio_live(const struct virtio_device *dev, uint32_t queue)
{
    return queue < dev->queues && (dev->status & VIRTIO_DRIVER_OK) && !(dev->status & VIRTIO_NEEDS_RESET) &&
           dev->queue[queue].ready && !dev->queue[queue].broken;
}

static void need_reset(struct virtio_device *dev)
{
    if (!(dev->status & VIRTIO_NEEDS_RESET)) {
        dev->breaches++;
        dev->status |= VIRTIO_NEEDS_RESET;
        /* 2.1.2: a driver that was told DRIVER_OK also gets a configuration change notification. */
        if (dev->status & VIRTIO_DRIVER_OK) {
            dev->interrupt |= INTERRUPT_CONFIG;
        }
    }
}

void virtio_settle(struct virtio_device *dev, uint32_t queue)
{
    if (queue >= dev->queues) {
        return;
    }
    struct virtq *q = &dev->queue[queue];
    if (q->ready && q->broken) {
        need_reset(dev);
    } else if (virtq_wants_interrupt(q)) {
        dev->interrupt |= INTERRUPT_USED;
    }
}

/* The selected queue while the driver may still change it: between FEATURES_OK and QueueReady. */
static struct virtq *open_queue(struct virtio_device *dev)
{
    if (dev->queue_select >= dev->queues || dev->queue[dev->queue_select].ready ||
        !(dev->status & VIRTIO_FEATURES_OK)) {
        dev->bad_accesses++;
        return NULL;
    }
    return &dev->queue[dev->queue_select];
}

static void write_status(struct virtio_device *dev, uint32_t value)
{
    if (value == 0) {
        virtio_device_reset(dev);
        return;
    }
    uint32_t added = value & ~dev->status & 0xff & ~(uint32_t)VIRTIO_NEEDS_RESET;
    /* 3.1.1: the driver only ever adds bits; clearing one is no reset and changes nothing. */
    if (added & VIRTIO_FEATURES_OK) {
        bool subset = (dev->features & ~dev->offered) == 0;
        if (!subset || !(dev->features & VIRTIO_F_VERSION_1) || !((dev->status | added) & VIRTIO_DRIVER)) {
            added &= ~(uint32_t)VIRTIO_FEATURES_OK;
        }
    }
    if ((added & VIRTIO_DRIVER_OK) && !((dev->status | added) & VIRTIO_FEATURES_OK)) {
        added &= ~(uint32_t)VIRTIO_DRIVER_OK;
        dev->bad_accesses++;
    }
    dev->status |= added;
    if ((added & VIRTIO_DRIVER_OK) && dev->ops->started != NULL) {
        dev->ops->started(dev);
    }
}

static void write_ready(struct virtio_device *dev, uint32_t value)
{
    if (value == 0) {
        if (dev->queue_select < dev->queues) {
            virtq_reset(&dev->queue[dev->queue_select], dev->ram);
        }
        return;
    }
    struct virtq *q = open_queue(dev);
    if (q == NULL) {
        return;
    }
    q->use_events = (dev->features & VIRTIO_F_EVENT_IDX) != 0;
    q->allow_indirect = (dev->features & VIRTIO_F_INDIRECT_DESC) != 0;
    q->ready = virtq_start(q);
    if (!q->ready) {
        need_reset(dev);
    }
}

static void write_address(struct virtio_device *dev, uint32_t offset, uint32_t value)
{
    struct virtq *q = open_queue(dev);
    if (q == NULL) {
        return;
    }
    uint64_t *address = offset < QUEUE_DRIVER   ? &q->desc_gpa
                        : offset < QUEUE_DEVICE ? &q->avail_gpa
                                                : &q->used_gpa;
    if (offset % 16 == 0) {
        *address = (*address & ~0xffffffffULL) | value;
    } else {
        *address = (*address & 0xffffffffULL) | (uint64_t)value << 32;
    }
}

static void write_size(struct virtio_device *dev, uint32_t value)
{
    struct virtq *q = open_queue(dev);
    if (q == NULL) {
        return;
    }
    if (value > VIRTQ_MAX_SIZE) {
        dev->bad_accesses++;
    } else {
        q->size = (uint16_t)value;
    }
}

static void write_driver_features(struct virtio_device *dev, uint32_t value)
{
    if ((dev->status & VIRTIO_FEATURES_OK) || dev->driver_feature_select > 1) {
        dev->bad_accesses++;
    } else if (dev->driver_feature_select == 0) {
        dev->features = (dev->features & ~0xffffffffULL) | value;
    } else {
        dev->features = (dev->features & 0xffffffffULL) | (uint64_t)value << 32;
    }
}

static uint64_t read_config(struct virtio_device *dev, uint64_t offset, uint32_t size)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < size; i++) {
        if (offset + i < dev->config_len) {
            value |= (uint64_t)dev->config[offset + i] << (8 * i);
        }
    }
    return value;
}

static bool well_formed(uint64_t offset, uint32_t size)
{
    bool power = size == 1 || size == 2 || size == 4 || size == 8;
    return power && offset % size == 0 && offset < VIRTIO_MMIO_LENGTH && (size == 4 || offset >= CONFIG);
}

static uint32_t read_register(struct virtio_device *dev, uint32_t offset)
{
    const struct virtq *q = dev->queue_select < dev->queues ? &dev->queue[dev->queue_select] : NULL;
    switch (offset) {
    case MAGIC_VALUE:
        return 0x74726976; /* "virt" */
    case VERSION:
        return 2;
    case DEVICE_ID:
        return dev->id;
    case VENDOR_ID:
        return 0x4d4d5652; /* "RVMM" */
    case DEVICE_FEATURES:
        return dev->feature_select < 2 ? (uint32_t)(dev->offered >> (32 * dev->feature_select)) : 0;
    case QUEUE_NUM_MAX:
        return q != NULL ? VIRTQ_MAX_SIZE : 0;
    case QUEUE_READY:
        return q != NULL && q->ready;
    case INTERRUPT_STATUS:
        return dev->interrupt;
    case STATUS:
        return dev->status;
    case CONFIG_GENERATION:
        return 0; /* the configuration never changes */
    default:
        if (offset >= SHM_LEN_LOW && offset <= SHM_BASE_HIGH) {
            return 0xffffffff; /* 4.2.2.1: no such shared memory region */
        }
        dev->bad_accesses++;
        return 0;
    }
}

uint64_t virtio_mmio_read(struct virtio_device *dev, uint64_t offset, uint32_t size)
{
    if (!well_formed(offset, size)) {
        dev->bad_accesses++;
        return 0;
    }
    return offset >= CONFIG ? read_config(dev, offset - CONFIG, size) : read_register(dev, (uint32_t)offset);
}

void virtio_mmio_write(struct virtio_device *dev, uint64_t offset, uint32_t size, uint64_t wide)
{
    uint32_t value = (uint32_t)wide;
    if (!well_formed(offset, size) || offset >= CONFIG) {
        dev->bad_accesses++;
        return;
    }
    switch (offset) {
    case DEVICE_FEATURES_SEL:
        dev->feature_select = value;
        break;
    case DRIVER_FEATURES:
        write_driver_features(dev, value);
        break;
    case DRIVER_FEATURES_SEL:
        dev->driver_feature_select = value;
        break;
    case QUEUE_SEL:
        dev->queue_select = value;
        break;
    case QUEUE_NUM:
        write_size(dev, value);
        break;
    case QUEUE_READY:
        write_ready(dev, value);
        break;
    case QUEUE_NOTIFY:
        if (virtio_live(dev, value)) {
            dev->ops->notify(dev, value);
        } else {
            dev->bad_accesses++;
        }
        break;
    case INTERRUPT_ACK:
        dev->interrupt &= ~value;
        break;
    case STATUS:
        write_status(dev, value);
        break;
    case SHM_SEL:
        break;
    case QUEUE_DESC:
    case QUEUE_DESC + 4:
    case QUEUE_DRIVER:
    case QUEUE_DRIVER + 4:
    case QUEUE_DEVICE:
    case QUEUE_DEVICE + 4:
        write_address(dev, (uint32_t)offset, value);
        break;
    default:
        dev->bad_accesses++;
        break;
    }
}
