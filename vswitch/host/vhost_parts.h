/* SPDX-License-Identifier: BSD-2-Clause */

/* Between vhost_link.c (messages on the socket) and vhost_user.c (what they mean). */
#ifndef VSWITCH_HOST_VHOST_PARTS_H
#define VSWITCH_HOST_VHOST_PARTS_H

#include <string.h>

#include "vhost_user.h"

enum {
    GET_FEATURES = 1,
    SET_FEATURES = 2,
    SET_OWNER = 3,
    SET_MEM_TABLE = 5,
    SET_VRING_NUM = 8,
    SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10,
    GET_VRING_BASE = 11,
    SET_VRING_KICK = 12,
    SET_VRING_CALL = 13,
    SET_VRING_ERR = 14,
    GET_PROTOCOL_FEATURES = 15,
    SET_PROTOCOL_FEATURES = 16,
    SET_VRING_ENABLE = 18,
    GET_CONFIG = 24,
};

struct message {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
    const uint8_t *payload;
};

/* A number in the host's byte order, as the protocol has them. The payload's size has been checked. */
static inline uint32_t word(const struct message *message, size_t at)
{
    uint32_t value;
    memcpy(&value, message->payload + at, sizeof(value));
    return value;
}

static inline uint64_t wide(const struct message *message, size_t at)
{
    uint64_t value;
    memcpy(&value, message->payload + at, sizeof(value));
    return value;
}

/* Closes what came with the message and was not taken. */
void vhost_close_descriptors(struct vhost_device *device);

/* False when it cannot be sent. */
bool vhost_reply(struct vhost_device *device, uint32_t request, const void *payload, uint32_t size);
bool vhost_reply_number(struct vhost_device *device, uint32_t request, uint64_t number);

/* NULL, or why the device is to be closed. */
const char *vhost_carry_out(struct vhost_device *device, const struct message *message);

#endif
