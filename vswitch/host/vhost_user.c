/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost_parts.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROTOCOL_REPLY_ACK (1ull << 3)
#define PROTOCOL_CONFIG (1ull << 9)
#define NO_DESCRIPTOR 0x100u /* in the number of SET_VRING_KICK, CALL and ERR */

#define FEATURE_INDIRECT (1ull << 28)
#define FEATURE_EVENT_IDX (1ull << 29)
#define FEATURE_PROTOCOL (1ull << 30) /* of vhost-user, not of virtio */
#define FEATURE_VERSION_1 (1ull << 32)
#define FEATURES (FEATURE_INDIRECT | FEATURE_EVENT_IDX | FEATURE_PROTOCOL | FEATURE_VERSION_1)
#define CONFIG_BYTES 8u
#define PAGE 4096u

struct region {
    uint64_t address; /* the guest's */
    uint64_t size;
    uint64_t user_address; /* QEMU's */
    uint64_t offset;       /* in the descriptor */
};

static void close_kick(struct vhost_device *device, uint32_t ring)
{
    int *kick = &device->rings[ring].kick;
    if (*kick >= 0) {
        /* QEMU keeps a copy of it, so closing it would not take it out of epoll's set. */
        device->watch_kick(device->context, ring, *kick, false);
        close(*kick);
        *kick = -1;
    }
}

static void unmap(struct vhost_device *device)
{
    if (device->ram.host) {
        munmap(device->ram.host, device->ram.size);
    }
    device->ram = (struct guest_ram){0};
}

void vhost_open(struct vhost_device *device, int link)
{
    device->link = link;
    device->features = 0;
    device->have = 0;
    device->descriptor_count = 0;
    device->ram = (struct guest_ram){0};
    for (uint32_t ring = 0; ring < VHOST_RINGS; ring++) {
        device->rings[ring] = (struct vhost_ring){.kick = -1, .call = -1};
        virtq_reset(&device->rings[ring].queue, &device->ram);
    }
}

void vhost_close(struct vhost_device *device)
{
    for (uint32_t ring = 0; ring < VHOST_RINGS; ring++) {
        close_kick(device, ring);
        if (device->rings[ring].call >= 0) {
            close(device->rings[ring].call);
            device->rings[ring].call = -1;
        }
        virtq_reset(&device->rings[ring].queue, &device->ram);
    }
    vhost_close_descriptors(device);
    unmap(device);
    close(device->link);
    device->link = -1;
}

/* The address in the guest's memory; one that is outside becomes one that ram_at refuses. */
static uint64_t guest_address(const struct vhost_device *device, uint64_t user_address)
{
    uint64_t offset = user_address - device->user_address;
    return offset < device->ram.size ? device->ram.base + offset : UINT64_MAX;
}

/* Places the rings in the memory that there is now. */
static const char *place(struct vhost_device *device, struct vhost_ring *ring)
{
    struct virtq *queue = &ring->queue;
    queue->size = ring->size;
    queue->desc_gpa = guest_address(device, ring->desc);
    queue->avail_gpa = guest_address(device, ring->avail);
    queue->used_gpa = guest_address(device, ring->used);
    return device->ram.host && virtq_start(queue) ? NULL : "a ring has an impossible size or place";
}

/* Starts a ring that has all it needs. What is in it already is found by whoever looks at it next: a kick may
 * have come before it was enabled. */
static const char *start(struct vhost_device *device, struct vhost_ring *ring)
{
    struct virtq *queue = &ring->queue;
    if (queue->ready || !ring->enabled || ring->kick < 0) {
        return NULL;
    }
    queue->use_events = device->features & FEATURE_EVENT_IDX;
    queue->allow_indirect = device->features & FEATURE_INDIRECT;
    queue->told = false;
    const char *problem = place(device, ring);
    queue->ready = !problem;
    return problem;
}

static const char *set_memory(struct vhost_device *device, const struct message *message)
{
    struct region region;
    struct stat status;
    if (message->size < 8) {
        return "a memory table is cut short";
    }
    if (word(message, 0) != 1 || device->descriptor_count != 1) {
        return "the guest's memory is not one region with one descriptor";
    }
    if (message->size < 8 + sizeof(region)) {
        return "a memory table is cut short";
    }
    memcpy(&region, message->payload + 8, sizeof(region));
    int memory = device->descriptors[0];
    /* Rings are aligned by the guest's addresses, and so must the mapping be. */
    if (region.size == 0 || region.size > VHOST_MAX_MEMORY || region.offset > VHOST_MAX_MEMORY ||
        region.address % PAGE != 0 || region.address > UINT64_MAX - region.size ||
        region.user_address > UINT64_MAX - region.size) {
        return "the guest's memory has an impossible size or place";
    }
    int seals = fcntl(memory, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK)) {
        return "the guest's memory is not a sealed memfd (memory-backend-memfd)";
    }
    if (fstat(memory, &status) != 0 || (uint64_t)status.st_size < region.offset + region.size) {
        return "the guest's memory is smaller than announced";
    }
    unmap(device);
    void *host = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, (off_t)region.offset);
    if (host == MAP_FAILED) {
        return "the guest's memory cannot be mapped";
    }
    device->ram = (struct guest_ram){region.address, region.size, host};
    device->user_address = region.user_address;
    for (uint32_t ring = 0; ring < VHOST_RINGS; ring++) {
        const char *problem = device->rings[ring].queue.ready ? place(device, &device->rings[ring]) : NULL;
        if (problem) {
            return problem;
        }
    }
    return NULL;
}

/* SET_VRING_KICK, CALL and ERR. */
static const char *set_descriptor(struct vhost_device *device, const struct message *message)
{
    uint64_t number = wide(message, 0);
    uint32_t index = (uint32_t)number & 0xff;
    uint32_t expected = number & NO_DESCRIPTOR ? 0 : 1;
    if (index >= VHOST_RINGS || device->descriptor_count != expected) {
        return "an event descriptor is for no ring, or does not come with its message";
    }
    struct vhost_ring *ring = &device->rings[index];
    if (message->request == SET_VRING_ERR) {
        return NULL; /* closed with the message */
    }
    int descriptor = expected ? device->descriptors[0] : -1;
    if (message->request == SET_VRING_KICK && !expected) {
        return "a ring is to be polled";
    }
    if (expected) {
        /* Eventfds of QEMU do not block. Another descriptor might, and with it all guests. A QEMU that was
         * taken over can still make its eventfd block again, since the two share the flag:
         * docs/reference/vswitch.md. */
        int flags = fcntl(descriptor, F_GETFL);
        if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0) {
            return "an event descriptor cannot be used";
        }
        device->descriptor_count = 0;
    }
    if (message->request == SET_VRING_CALL) {
        if (ring->call >= 0) {
            close(ring->call);
        }
        ring->call = descriptor;
        return NULL;
    }
    close_kick(device, index);
    if (!device->watch_kick(device->context, index, descriptor, true)) {
        close(descriptor);
        return "an event descriptor cannot be watched";
    }
    ring->kick = descriptor;
    return start(device, ring);
}

static const char *set_ring(struct vhost_device *device, const struct message *message)
{
    uint32_t index = word(message, 0);
    uint32_t number = word(message, 4);
    if (index >= VHOST_RINGS) {
        return "a message is for a ring that the device does not have";
    }
    struct vhost_ring *ring = &device->rings[index];
    if (message->request == SET_VRING_ENABLE) {
        ring->enabled = number != 0;
        ring->queue.ready = ring->queue.ready && ring->enabled;
        return start(device, ring);
    }
    if (message->request == GET_VRING_BASE) {
        const uint32_t base[2] = {index, ring->queue.next_avail};
        ring->queue.ready = false;
        close_kick(device, index);
        return vhost_reply(device, message->request, base, sizeof(base)) ? NULL : "a reply cannot be sent";
    }
    if (ring->queue.ready) {
        return "a ring is changed while it runs";
    }
    if (message->request == SET_VRING_NUM) {
        ring->size = (uint16_t)(number > VIRTQ_MAX_SIZE ? 0 : number); /* 0 is refused when it starts */
    } else {
        /* Chains are given back in order and before the rings are stopped, so one number says both. */
        ring->queue.next_avail = ring->queue.next_used = ring->queue.signalled_used = (uint16_t)number;
    }
    return NULL;
}

static const char *set_addresses(struct vhost_device *device, const struct message *message)
{
    uint32_t index = word(message, 0);
    if (index >= VHOST_RINGS || device->rings[index].queue.ready) {
        return "addresses are for a ring that runs, or that the device does not have";
    }
    device->rings[index].desc = wide(message, 8);
    device->rings[index].used = wide(message, 16);
    device->rings[index].avail = wide(message, 24);
    return NULL;
}

static const char *get_config(struct vhost_device *device, const struct message *message)
{
    uint8_t answer[12 + CONFIG_BYTES] = {0};
    uint32_t range[3] = {word(message, 0), word(message, 4), word(message, 8)};
    uint8_t config[CONFIG_BYTES] = {0};
    for (uint32_t i = 0; i < 4; i++) {
        config[i] = (uint8_t)(device->cid >> (8 * i));
    }
    if (range[0] > CONFIG_BYTES || range[1] > CONFIG_BYTES - range[0]) {
        range[0] = range[1] = 0; /* which says that there is no such range */
    }
    memcpy(answer, range, sizeof(range));
    memcpy(answer + 12, config + range[0], range[1]);
    return vhost_reply(device, GET_CONFIG, answer, 12 + range[1]) ? NULL : "a reply cannot be sent";
}

/* Bytes of payload that a request needs at least. */
static uint32_t needed(uint32_t request)
{
    switch (request) {
    case SET_FEATURES:
    case SET_PROTOCOL_FEATURES:
    case SET_VRING_NUM:
    case SET_VRING_BASE:
    case GET_VRING_BASE:
    case SET_VRING_ENABLE:
    case SET_VRING_KICK:
    case SET_VRING_CALL:
    case SET_VRING_ERR:
        return 8;
    case SET_VRING_ADDR:
        return 40;
    case GET_CONFIG:
        return 12;
    default:
        return 0;
    }
}

const char *vhost_carry_out(struct vhost_device *device, const struct message *message)
{
    if (message->size < needed(message->request)) {
        return "a message is cut short";
    }
    switch (message->request) {
    case GET_FEATURES:
        return vhost_reply_number(device, GET_FEATURES, FEATURES) ? NULL : "a reply cannot be sent";
    case GET_PROTOCOL_FEATURES:
        return vhost_reply_number(device, GET_PROTOCOL_FEATURES, PROTOCOL_CONFIG | PROTOCOL_REPLY_ACK)
                   ? NULL
                   : "a reply cannot be sent";
    case SET_FEATURES:
        device->features = wide(message, 0);
        return (device->features & ~FEATURES) ? "a feature is set that was not offered" : NULL;
    case SET_PROTOCOL_FEATURES:
        return (wide(message, 0) & ~(PROTOCOL_CONFIG | PROTOCOL_REPLY_ACK))
                   ? "a protocol feature is set that was not offered"
                   : NULL;
    case SET_OWNER:
        return NULL;
    case SET_MEM_TABLE:
        return set_memory(device, message);
    case SET_VRING_NUM:
    case SET_VRING_BASE:
    case GET_VRING_BASE:
    case SET_VRING_ENABLE:
        return set_ring(device, message);
    case SET_VRING_ADDR:
        return set_addresses(device, message);
    case SET_VRING_KICK:
    case SET_VRING_CALL:
    case SET_VRING_ERR:
        return set_descriptor(device, message);
    case GET_CONFIG:
        return get_config(device, message);
    default:
        return "an unknown request";
    }
}

void vhost_signal(struct vhost_ring *ring)
{
    const uint64_t one = 1;
    if (virtq_wants_interrupt(&ring->queue) && ring->call >= 0) {
        /* It fails when the count is full, so not read yet: then the guest has its interrupt already. */
        ssize_t written = write(ring->call, &one, sizeof(one));
        (void)written;
    }
}
