/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The host's half of the switch for vsock: one vhost-user device a port, and packets copied from one guest's
 * transmit ring to another one's receive ring as the core decides.
 *
 * A packet goes straight from the sender's buffers to the receiver's; large ones are cut to the receiver's
 * buffers, and data of one connection is joined in a buffer as long as more of it is at hand (Linux counts
 * each packet as 576 bytes of its receive buffer, however small). What finds no buffer waits with the
 * receiver, up to SHARE bytes from each sender, so that two guests that both fill the other's ring cannot
 * block each other; behind that, the sender's ring is not read until there is room again, and all others go
 * on.
 *
 * A receiver for which something waits and that takes less than STALL_PROGRESS bytes for `stall_ms` counts as
 * stalled: all its connections are reset, and packets for it are answered by RST until it offers buffers
 * again.
 */
#ifndef VSWITCH_HOST_VSOCK_HUB_H
#define VSWITCH_HOST_VSOCK_HUB_H

#include "../core/vsock.h"
#include "capture.h"
#include "queue.h"
#include "vhost_user.h"

/* A whole packet, and another one or many small ones. */
#define VSOCK_SHARE (128u * 1024u)
/* The switch's own answers to a guest: some dozens. */
#define VSOCK_ANSWERS 4096u
#define VSOCK_STALL_PROGRESS 65536u
/* What one guest may send before the next one's turn. */
#define VSOCK_TURN_PACKETS 64u
#define VSOCK_TURN_BYTES (256u * 1024u)

struct vsock_device {
    struct vhost_device vhost;
    uint32_t number;
    const char *name;
    struct vsock_hub *hub;
    bool running;

    /* The packet at the head of the transmit ring, once it is judged. */
    bool judged;
    bool blocked;
    struct vsock_verdict verdict;
    struct vsock_header head;
    uint32_t done; /* bytes of its payload that are delivered */

    /* The receive buffer that is being filled. */
    bool filling;
    struct virtq_chain chain;
    struct vsock_header filled; /* `length`: bytes in it so far */
    uint32_t capacity;

    /* What waits for receive buffers: for each packet its sender, its header, its payload. */
    struct queue waiting;
    uint32_t shares[VSOCK_MAX_PORTS]; /* bytes of it by sender; under the port's own number: answers */
    bool draining;                    /* its first packet's header is read, and is `first` */
    uint32_t first_from;
    struct vsock_header first; /* `length`: bytes that still wait */
    int64_t moved_at;          /* ms: when it last was not behind, or had taken VSOCK_STALL_PROGRESS bytes */
    size_t moved;

    uint64_t links;
    uint64_t faults;
    size_t waiting_peak;
};

struct vsock_hub {
    const struct vsock_config *config;
    struct capture *capture;
    struct vsock_state state;
    struct vsock_device devices[VSOCK_MAX_PORTS];
    int64_t now;      /* ms on the monotonic clock */
    int64_t stall_ms; /* 0: never give up on a receiver */
    uint32_t turn;
    bool more; /* there is work left for which no event will come */
    bool (*watch_kick)(uint32_t port, uint32_t ring, int descriptor, bool on);
};

/* False if out of memory. The configuration has passed vsock_init. */
bool vsock_hub_open(struct vsock_hub *hub, const struct vsock_config *config, int64_t stall_ms);
void vsock_hub_close(struct vsock_hub *hub);

/* Takes over a connected, non-blocking socket. The port must have none. */
void vsock_hub_connect(struct vsock_hub *hub, uint32_t port, int link);

/* Reads what QEMU says about the device. */
void vsock_hub_receive(struct vsock_hub *hub, uint32_t port);

/* The guest, or QEMU for it, has rung. */
void vsock_hub_kick(struct vsock_hub *hub, uint32_t port, uint32_t ring);

/* Carries packets for one turn of each port. */
void vsock_hub_pump(struct vsock_hub *hub);

/* Milliseconds until vsock_hub_pump has something to do without an event, or -1. */
int vsock_hub_timeout(const struct vsock_hub *hub);

/* Between the two source files: cuts a device off that broke the protocol. */
void vsock_hub_fault(struct vsock_device *device, const char *why);
void vsock_hub_set_link(struct vsock_device *device, enum vsock_link link);

#endif
