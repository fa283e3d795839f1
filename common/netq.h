/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Frame queues between a VMM and the switch.
 *
 * A port is four rings in memory that both sides write, and a pool of frame bytes that only the VMM writes.
 * The switch reads frame headers in the pool, and the VMMs that may receive from this port read whole frames
 * there: a frame is copied once into the pool and once out of it.
 *
 *   tx       VMM → switch   frames to forward
 *   tx_done  switch → VMM   their bytes are free again
 *   rx       switch → VMM   frames from other ports, still in their owner's pool
 *   rx_done  VMM → switch   frames that have been copied
 *
 * Neither side trusts the other: the peer's indices are used only for distances, which are checked, and each
 * side keeps its own indices in private memory. A side that sleeps sets a flag in the ring; the peer notifies
 * only then.
 */

#include "freestanding.h"

#ifndef NETQ_ENTRIES
/* A ring's length, and the frames that a port may have in flight; the model checker sets fewer. */
#define NETQ_ENTRIES 256u
#endif
#define NETQ_PORT_BYTES                                                                                      \
    0x9000u /* size of the shared region of one port: sizeof(struct netq_port) in whole pages */
#define NETQ_FRAME_MAX (14u + 65536u)
#define NETQ_PACKET_MAX (44u + 65536u) /* a vsock packet: its header, and as much as Linux puts into one */
#define NETQ_MIN_POOL_BYTES                                                                                  \
    0x40000u /* bytes: two of the largest frames wherever the first one starts, and room to spare */

/*
 * One frame. The offload fields are those of virtio's struct virtio_net_hdr, and have its meaning.
 *
 * Or one vsock packet. In tx it lies in the pool as its guest made it, header and payload; an entry of length
 * 0 says that the guest's device starts or stops (enum netq_link). In rx the header is here, as the switch
 * has judged it, so that nothing that changes in the pool meanwhile can change it, and the pool has the
 * payload. The switch's own packets have no payload and the owner NETQ_SWITCH; `offset` is their source CID.
 */
struct netq_frame {
    uint32_t offset; /* of the Ethernet header, the vsock header or the payload in the owner's pool */
    uint32_t length; /* bytes from there on, without frame check sequence */
    uint16_t owner;  /* port in whose pool it lies; the switch fills it in */
    uint16_t ticket; /* the owner's name for it, below NETQ_ENTRIES */
    union {
        struct {
            uint8_t flags;
            uint8_t gso_type;
            uint16_t hdr_len;
            uint16_t gso_size;
            uint16_t csum_start;
            uint16_t csum_offset;
            uint16_t unused[5];
        };
        struct {
            uint8_t operation; /* the fields of struct virtio_vsock_hdr; in tx, an enum netq_link */
            uint8_t flags;
            uint16_t type;
            uint32_t source_port;
            uint32_t destination_port;
            uint32_t buf_alloc;
            uint32_t fwd_cnt;
        } vsock;
    };
};

#define NETQ_SWITCH 0xffffu

enum netq_link { NETQ_LINK_DOWN = 1, NETQ_LINK_UP = 2 };

struct netq_ring {
    uint32_t head;       /* entries ever produced; written by the producer */
    uint32_t wants_room; /* set by a producer that found the ring full */
    uint8_t line0[56];
    uint32_t tail;   /* entries ever consumed; written by the consumer */
    uint32_t asleep; /* set by a consumer that found the ring empty */
    uint8_t line1[56];
    struct netq_frame entry[NETQ_ENTRIES];
};

struct netq_port {
    struct netq_ring tx;
    struct netq_ring tx_done;
    struct netq_ring rx;
    struct netq_ring rx_done;
};

_Static_assert(sizeof(struct netq_frame) == 32, "two frames a cache line");
_Static_assert(sizeof(struct netq_port) <= NETQ_PORT_BYTES, "a port fits its region");

/* One side's private view of a ring. */
struct netq_end {
    struct netq_ring *ring;
    uint32_t at;       /* own index */
    uint32_t shown;    /* own index as the peer can see it */
    uint64_t breaches; /* number of invalid indices from the peer */
};

void netq_attach(struct netq_end *end, struct netq_ring *ring);

/* Producer: free entries; adds an entry (the caller has checked for room); publishes the added entries, true
 * if the consumer must be notified; requests a notification about room, true if there is room already. */
uint32_t netq_room(struct netq_end *end);
void netq_put(struct netq_end *end, const struct netq_frame *frame);
bool netq_show(struct netq_end *end);
bool netq_await_room(struct netq_end *end);

/* Producer: whether the consumer sleeps until there is an entry. */
bool netq_awaited(const struct netq_end *end);

/* Consumer: reads the next entry; takes it; publishes the free room, true if the producer waits for it;
 * announces sleep, true if an entry has arrived meanwhile. */
bool netq_look(struct netq_end *end, struct netq_frame *frame);
void netq_take(struct netq_end *end);
bool netq_release(struct netq_end *end);
bool netq_sleep(struct netq_end *end);

/*
 * Pool allocator: contiguous pieces in ring order, freed in any order. Private to the owner.
 */
struct netq_pool {
    uint32_t size;
    uint32_t head;  /* where the next piece may start */
    uint32_t first; /* ticket of the oldest piece */
    uint32_t count; /* pieces between first and the next ticket */
    uint32_t start[NETQ_ENTRIES];
    bool busy[NETQ_ENTRIES];
};

void netq_pool_init(struct netq_pool *pool, uint32_t size);
/* False if there is no room. */
bool netq_pool_take(struct netq_pool *pool, uint32_t length, uint32_t *offset, uint16_t *ticket);
/* False if the ticket is not in use: the peer returned it twice or made it up. */
bool netq_pool_give(struct netq_pool *pool, uint16_t ticket);
