/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The host's half of the switch: one stream socket a port, and frames carried between them as the core
 * decides.
 *
 * A link speaks QEMU's stream protocol (`-netdev stream`): a frame's length in 4 bytes, highest first, then
 * the frame. It carries no offload metadata, so frames are complete.
 *
 * Back-pressure drops nothing. Frames are written to their receiver straight from the buffer they were
 * read into; what its socket does not take is copied to the receiver's queue; when that queue is full, the
 * senders whose next frame is for this receiver are no longer read until it has drained. Reading from a link
 * never waits for writing to that link, so two ports that are full towards each other cannot lock up. A
 * receiver that has had a full queue and has taken less than STALL_PROGRESS bytes for `stall_ms` counts as
 * stalled: frames for it are dropped (and counted), so that a guest that stops reading cannot block the
 * others for ever.
 */
#ifndef VSWITCH_HOST_HUB_H
#define VSWITCH_HOST_HUB_H

#include <sys/uio.h>

#include "../core/vswitch.h"
#include "capture.h"
#include "queue.h"

#define LENGTH_PREFIX 4u
/* QEMU's own receive buffer (NET_BUFSIZE, 4096 + 65536): no peer that keeps to the protocol sends more. */
#define LINK_FRAME_MAX 69632u
#define INPUT_SIZE (256u * 1024u)
/*
 * At least INPUT_SIZE, since all of a batch may have to wait. More would let a sender run further ahead of a
 * slow receiver before it is held up; it would also be more delay for everything behind a bulk transfer (1
 * MiB at 20 MiB/s: 50 ms).
 */
#define QUEUE_SIZE (1024u * 1024u)
_Static_assert(QUEUE_SIZE >= INPUT_SIZE && INPUT_SIZE >= LENGTH_PREFIX + LINK_FRAME_MAX,
               "buffers are too small");
#define BATCH_VECTORS 64
#define STALL_PROGRESS 65536u

struct port {
    uint32_t number;
    const char *name;
    int link;     /* -1 while not connected */
    bool hung_up; /* the peer no longer reads; what it sent before is still to be read */

    uint8_t *input;
    size_t start; /* the first byte in `input` that is not forwarded yet */
    size_t end;
    uint64_t pending; /* ports that the frame at `start` still has to go to; not 0: blocked, not to be read */

    struct iovec batch[BATCH_VECTORS]; /* frames for this port in some other port's input */
    int batch_count;
    struct queue queue;
    bool full;        /* a frame did not fit; until the queue is half empty */
    int64_t moved_at; /* ms: when it last was not behind, or had taken STALL_PROGRESS bytes */
    size_t moved;

    uint64_t connections;
    uint64_t lost_bytes; /* queued when the guest went away */
    size_t queued_peak;
};

struct hub {
    const struct vswitch_config *config;
    struct vswitch_state state;
    struct port ports[VSWITCH_MAX_PORTS];
    struct capture *capture;
    int64_t now;      /* ms on the monotonic clock */
    int64_t stall_ms; /* 0: never give up on a receiver */
    uint32_t turn;
};

/* False if out of memory. */
bool hub_open(struct hub *hub, const struct vswitch_config *config, int64_t stall_ms);
void hub_close(struct hub *hub);

/* Takes over a connected, non-blocking stream socket. The port must have none. */
void hub_connect(struct hub *hub, uint32_t port, int link);

/* Reads what has arrived and forwards it. False when the link is over; it is closed by then. */
bool hub_receive(struct hub *hub, uint32_t port);

/* Writes what is queued for the port. */
void hub_transmit(struct hub *hub, uint32_t port);

/* The other end has hung up: nothing can be delivered to it any more. */
void hub_hang_up(struct hub *hub, uint32_t port);

/* Tries again to forward for every sender that waits for a receiver. */
void hub_retry(struct hub *hub);

/* Milliseconds until a receiver that blocks a sender counts as stalled, or -1. */
int hub_timeout(const struct hub *hub);

#endif
