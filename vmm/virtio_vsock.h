/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A virtio socket device (virtio 1.2, 5.10) connected to a port of the switch. It judges nothing: a packet
 * goes to the switch as the guest made it, and what comes from there is delivered with the header that the
 * switch made of what it judged. The device knows no connections, so a guest cannot make it grow.
 *
 * A payload is cut to the guest's receive buffers; pieces of one connection that are at hand together share a
 * buffer, since Linux counts each packet as 576 bytes of its receive buffer, however small.
 *
 * A full queue loses nothing: a packet without room in the pool stays in the guest's transmit queue, and one
 * without a receive buffer stays in the switch's queue. But a packet that waits blocks its sender's later
 * ones, also those for other guests, so waiting is limited as with virtio_net.h: to 1 s in a burst, and in
 * the long run to 10 % of the time plus 1 ms per packet and 1 ms per 2 KiB received. Beyond the limit the
 * guest loses all its connections: the switch resets them at the other ends, and when the guest gives buffers
 * again, it gets the event TRANSPORT_RESET. The same happens at the other ends when the device is reset.
 *
 * After a transmission the device polls, as the network device does and for the same reason.
 */

#include "account.h"
#include "netq.h"
#include "virtio_mmio.h"
#include "vsock.h"

#define VIRTIO_ID_VSOCK 19u

enum virtio_vsock_queue { VIRTIO_VSOCK_RX, VIRTIO_VSOCK_TX, VIRTIO_VSOCK_EVENT, VIRTIO_VSOCK_QUEUES };

/* A port from which this one may receive. */
struct virtio_vsock_source {
    const uint8_t *pool; /* NULL: no packets from this port */
    uint32_t size;
    uint32_t cid;
};

#define VIRTIO_VSOCK_MAX_PORTS 62u

struct virtio_vsock_counters {
    uint64_t tx_packets;
    uint64_t tx_bytes; /* of payload, like rx_bytes */
    uint64_t rx_packets;
    uint64_t rx_bytes;
    uint64_t tx_malformed; /* chains that hold no packet */
    uint64_t rx_dropped;   /* packets dropped because there is no driver, or it gave no buffers */
    uint64_t resets;       /* how often the guest lost its connections because it gave no buffers */
    uint64_t peer_errors;  /* invalid entries from the switch */
};

struct virtio_vsock {
    struct virtio_device dev;
    uint64_t guest_cid; /* the whole configuration space */
    struct netq_end tx, tx_done, rx, rx_done;
    struct netq_pool pool;
    uint8_t *pool_bytes;
    struct virtio_vsock_source source[VIRTIO_VSOCK_MAX_PORTS];

    bool up;        /* what the switch was told last */
    bool lost;      /* connections of before are gone: the switch has to hear that first */
    bool stalled;   /* the guest gives no buffers: drop its packets */
    bool event_due; /* the guest has to get TRANSPORT_RESET before it may connect again */
    bool starved;   /* the last run had no room for something for the switch */

    struct virtq_chain chain; /* the receive buffer that is being filled */
    struct vsock_header filled;
    uint32_t capacity;
    bool filling;
    uint32_t done; /* bytes of the front packet that are delivered */

    uint64_t millisecond;        /* in ticks of the counter */
    uint64_t waiting_since;      /* counter value from which waiting is not charged yet, or never */
    struct account wait_account; /* time that packets have waited for the guest */
    uint64_t rx_due;             /* when the guest loses its connections, or never */
    uint32_t tx_unsignalled;     /* descriptors used since the last transmit interrupt was considered */
    bool tx_seen;                /* the last run took packets from the guest */
    bool polling;                /* doorbells are off: the transmit queue is polled */
    uint64_t poll_until;         /* when polling ends if the guest sends nothing */
    uint64_t cost;               /* average duration of a run, in ticks */
    uint32_t rx_counted;         /* entries taken from rx when virtio_vsock_paid() was last called */
    struct virtio_vsock_counters counters;
};

#define VIRTIO_VSOCK_NEVER UINT64_MAX

/* The port's shared rings and this port's own pool; sources are set by the caller before the first packet.
 * frequency: of the counter that `now` below comes from, in hertz. */
void virtio_vsock_init(struct virtio_vsock *vsock, const struct guest_ram *ram, uint32_t cid,
                       struct netq_port *port, uint8_t *pool, uint32_t pool_size, uint64_t frequency);

/* What the guest sends; then what it receives, and who has to know: true if the switch must be notified. */
void virtio_vsock_send(struct virtio_vsock *vsock);
bool virtio_vsock_finish(struct virtio_vsock *vsock);

/* How much of the ticks that receiving took the packets' senders have paid; as virtio_net_paid(). */
uint64_t virtio_vsock_paid(struct virtio_vsock *vsock, uint64_t ticks);

/* Whether the guest has queued packets without a doorbell, while polling. */
bool virtio_vsock_pending(struct virtio_vsock *vsock);

/* To be called after each run: with its duration in ticks; for the next deadline, or VIRTIO_VSOCK_NEVER. */
void virtio_vsock_took(struct virtio_vsock *vsock, uint64_t ticks);
uint64_t virtio_vsock_deadline(struct virtio_vsock *vsock, uint64_t now);

/* Handles the deadlines up to `now`; a run must follow. */
void virtio_vsock_due(struct virtio_vsock *vsock, uint64_t now);

/* virtio_vsock_rx.c: moves packets from the switch to the guest. */
void virtio_vsock_receive(struct virtio_vsock *vsock);
