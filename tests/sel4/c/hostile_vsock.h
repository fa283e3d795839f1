/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The vsock device (virtio 1.2, 5.10) as a good driver uses it, except that it sends whatever header it is
 * given. The device is the machine's first one. Everything is little-endian, and so are we.
 */
#ifndef HOSTILE_VSOCK_H
#define HOSTILE_VSOCK_H

#include "hostile_ring.h"

#define VSOCK NET
#define PLACE (RAM_BASE + RAM_SIZE / 2 + 0x400000)
#define VSOCK_RINGS PLACE
#define RECEIVED (PLACE + 0x10000)
#define RECEIVED_COUNT 64u
#define RECEIVED_BYTES 0x1000u
#define EVENTS (PLACE + 0x60000)
#define PACKET (PLACE + 0x80000) /* the one that is sent next */
#define HEADER 44u
#define USBIP_PORT 3240u
#define WITNESS_PORT 5000u
#define ANSWER_SECONDS 10u /* the switch takes packets late from a guest that still owes time */

enum { RX, TX, EVENT };
enum { STREAM = 1 };
enum { REQUEST = 1, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };

struct header {
    uint64_t source_cid;
    uint64_t destination_cid;
    uint32_t source_port;
    uint32_t destination_port;
    uint32_t length;
    uint16_t type;
    uint16_t operation;
    uint32_t flags;
    uint32_t buf_alloc;
    uint32_t fwd_cnt;
};

static struct ring vsock[3];

static inline uint64_t own_cid(void)
{
    return get(VSOCK, 0x100) | (uint64_t)get(VSOCK, 0x104) << 32;
}

static inline struct header header_to(uint64_t cid, uint32_t port, uint32_t own_port, uint16_t operation)
{
    return (struct header){.source_cid = own_cid(),
                           .destination_cid = cid,
                           .source_port = own_port,
                           .destination_port = port,
                           .type = STREAM,
                           .operation = operation,
                           .buf_alloc = 0x40000};
}

static inline void give_receive_buffers(void)
{
    for (uint16_t i = 0; i < RECEIVED_COUNT; i++) {
        set_descriptor(&vsock[RX], i,
                       (struct descriptor){RECEIVED + (uint64_t)RECEIVED_BYTES * i, RECEIVED_BYTES, 2, 0});
        give(&vsock[RX], i);
    }
    ring_the_doorbell(&vsock[RX]);
}

static inline void give_event_buffers(uint32_t bytes, uint16_t flags)
{
    for (uint16_t i = 0; i < 4; i++) {
        set_descriptor(&vsock[EVENT], i, (struct descriptor){EVENTS + 64ULL * i, bytes, flags, 0});
        give(&vsock[EVENT], i);
    }
    ring_the_doorbell(&vsock[EVENT]);
}

/* What was connected before is gone. */
static inline void start_vsock(void)
{
    start_device(VSOCK, VSOCK_RINGS, vsock, 3);
    give_event_buffers(8, 2);
    give_receive_buffers();
}

/* Sends the header and `payload` bytes of what lies behind it, in one piece or in eight. False: the device
 * has not taken it within a second. */
static inline bool send(const struct header *header, uint32_t payload, bool in_pieces)
{
    volatile struct header *packet = (volatile struct header *)PACKET;
    packet->source_cid = header->source_cid;
    packet->destination_cid = header->destination_cid;
    packet->source_port = header->source_port;
    packet->destination_port = header->destination_port;
    packet->length = header->length;
    packet->type = header->type;
    packet->operation = header->operation;
    packet->flags = header->flags;
    packet->buf_alloc = header->buf_alloc;
    packet->fwd_cnt = header->fwd_cnt;
    uint32_t bytes = HEADER + payload, at = 0, pieces = in_pieces ? 8 : 1;
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t left = bytes - at;
        uint32_t part = i + 1 == pieces ? left : below(left < 30 ? left + 1 : 30);
        uint16_t flags = i + 1 == pieces ? 0 : 1;
        set_descriptor(&vsock[TX], i, (struct descriptor){PACKET + at, part, flags, (uint16_t)(i + 1)});
        at += part;
    }
    give(&vsock[TX], 0);
    ring_the_doorbell(&vsock[TX]);
    for (uint64_t end = now() + hertz(); used_by_device(&vsock[TX]) != vsock[TX].given;) {
        if (now() > end) {
            return false;
        }
    }
    return true;
}

/* The next packet that has come, or NULL; `length`: the bytes that the device says it has written. It is to
 * be given back. */
static inline const volatile struct header *receive(uint32_t *id, uint32_t *length)
{
    const volatile uint32_t *entry = (const volatile uint32_t *)(vsock[RX].at + 0x2004);
    if (vsock[RX].seen == used_by_device(&vsock[RX])) {
        return NULL;
    }
    *id = entry[2 * (vsock[RX].seen % ENTRIES)] % RECEIVED_COUNT;
    *length = entry[2 * (vsock[RX].seen % ENTRIES) + 1];
    vsock[RX].seen++;
    return (const volatile struct header *)(RECEIVED + (uint64_t)RECEIVED_BYTES * *id);
}

static inline void give_received_back(uint32_t id)
{
    give(&vsock[RX], (uint16_t)id);
    ring_the_doorbell(&vsock[RX]);
}

#endif
