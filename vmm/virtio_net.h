/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A virtio network device (virtio 1.2, 5.1) connected to a port of the switch. It offers checksum and TCPv4
 * segmentation offload in both directions and mergeable receive buffers, so that guests pass up to 64 KiB at
 * a time.
 *
 * A full queue drops nothing: a frame without room in the pool stays in the guest's transmit queue, and a
 * frame without a receive buffer stays in the switch's queue. But a frame that waits blocks its sender's
 * later frames, also those for other guests, so waiting is limited: to 0.1 s in a burst, and in the long run
 * to 10 % of the time plus 1 ms per frame and 1 ms per 2 KiB received. A guest that receives 1,000 frames or
 * 2 MiB per second may let frames wait all the time. Beyond the limit, frames without a buffer are dropped.
 *
 * Traps dominate the cost of a small frame: one for the guest's doorbell, three for a transmit interrupt. So
 * after a transmission the device polls: doorbells are off, and the transmit queue is checked whenever the
 * VMM runs anyway (as when the guest goes idle). The transmit interrupt is deferred until the next received
 * frame, or until a quarter of the queue is used. Polling ends after an idle time of 128 average runs of the
 * device (about 0.4 ms at 3 µs each), at most 20 ms. That is the most that polling adds to a frame's latency
 * if the guest does not trap for another reason.
 */

#include "account.h"
#include "netq.h"
#include "virtio_mmio.h"

#define VIRTIO_ID_NET 1u
#define VIRTIO_NET_HEADER 12u /* bytes of struct virtio_net_hdr with VIRTIO_F_VERSION_1 */

enum virtio_net_queue { VIRTIO_NET_RX, VIRTIO_NET_TX };

/* A pool from which this port may receive. */
struct virtio_net_source {
    const uint8_t *pool; /* NULL: no frames from this port */
    uint32_t size;
};

#define VIRTIO_NET_MAX_PORTS 62u

struct virtio_net_counters {
    uint64_t tx_frames;
    uint64_t tx_bytes;
    uint64_t rx_frames;
    uint64_t rx_bytes;
    uint64_t tx_malformed; /* frames with an invalid length or header */
    uint64_t tx_oversize;  /* frames above the MTU */
    uint64_t rx_dropped;   /* frames dropped because the guest gave no buffers */
    uint64_t rx_segmented; /* frames segmented here, for a driver without TSO */
    uint64_t rx_refused;   /* frames that could not be segmented */
    uint64_t peer_errors;  /* invalid entries from the switch */
};

struct virtio_net {
    struct virtio_device dev;
    struct {
        uint8_t mac[6];
        uint16_t status;
        uint16_t max_pairs;
        uint16_t mtu;
    } __attribute__((packed)) config;
    struct netq_end tx, tx_done, rx, rx_done;
    struct netq_pool pool;
    uint8_t *pool_bytes;
    struct virtio_net_source source[VIRTIO_NET_MAX_PORTS];
    bool giving_up;         /* the guest gives no buffers: drop its frames */
    uint64_t waiting_since; /* counter value from which waiting is not charged yet, or VIRTIO_NET_NEVER */
    uint64_t millisecond;   /* in ticks of the counter */
    struct account wait_account; /* time that frames have waited for the guest */
    uint64_t rx_due;             /* when the waiting frame is dropped, or VIRTIO_NET_NEVER */
    uint32_t tx_unsignalled; /* descriptors of sent frames since the last transmit interrupt was considered */
    bool tx_seen;            /* the last run took frames from the guest */
    bool polling;            /* doorbells are off: the transmit queue is polled */
    uint64_t poll_until;     /* when polling ends if the guest sends nothing */
    uint64_t cost;           /* average duration of a run, in ticks */
    bool starved;            /* the last run had no room for a frame from the guest */
    uint32_t rx_counted;     /* frames taken from rx when virtio_net_paid() was last called */
    uint32_t segment;        /* first segment of the front frame that is not delivered yet */
    struct virtio_net_counters counters;
};

#define VIRTIO_NET_NEVER UINT64_MAX

/* The port's shared rings and this port's own pool; sources are set by the caller before the first frame.
 * frequency: of the counter that `now` below comes from, in hertz. */
void virtio_net_init(struct virtio_net *net, const struct guest_ram *ram, const uint8_t mac[6], uint16_t mtu,
                     struct netq_port *port, uint8_t *pool, uint32_t pool_size, uint64_t frequency);

/* Moves frames in both directions. True if the switch must be notified. The same in two steps: what the guest
 * sends, then what it receives and who has to know. */
bool virtio_net_run(struct virtio_net *net);
void virtio_net_send(struct virtio_net *net);
bool virtio_net_finish(struct virtio_net *net);

/* How much of the ticks that receiving took since the last call the frames' senders have paid, in the switch:
 * at most 50 us for each frame that was taken. The rest is the guest's: its buffers may be thousands of
 * pieces that hold nothing, or too few for the frame that is looked at again and again. */
uint64_t virtio_net_paid(struct virtio_net *net, uint64_t ticks);

/* Whether the guest has queued frames without a doorbell, while polling. */
bool virtio_net_pending(struct virtio_net *net);

/* To be called after each run with its duration in ticks. */
void virtio_net_took(struct virtio_net *net, uint64_t ticks);

/* To be called after each run: the next deadline, or VIRTIO_NET_NEVER. */
uint64_t virtio_net_deadline(struct virtio_net *net, uint64_t now);

/* Handles the deadlines up to `now`; a run must follow. */
void virtio_net_due(struct virtio_net *net, uint64_t now);

/* The waiting limit is exceeded: the next runs drop frames for the guest until it gives a buffer. */
void virtio_net_give_up(struct virtio_net *net);
