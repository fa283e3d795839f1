/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A virtio network device (virtio 1.2, 5.1) whose other side is a port of the switch. Offers checksum
 * and TCP segmentation offload in both directions and mergeable receive buffers, so that one guest hands
 * over up to 64 KiB at a time and the other takes it as it is.
 *
 * Nothing is dropped for want of room: a frame that finds no room in the pool stays in the guest's
 * transmit queue, one that finds no receive buffer stays in the switch's queue. Only a guest that gives no
 * buffers for a while loses frames, so that it cannot hold up the others: what waits for it stands in the way
 * of what its senders have for other guests. It may let frames wait for a tenth of a second at once, and in
 * the long run for a tenth of the time, for 1 ms with each frame and for 1 ms with every 2 KiB that it takes:
 * one that takes a thousand frames or 2 MiB a second may wait all the time. After that, a frame without a
 * buffer is dropped.
 *
 * Of all that a small frame costs, traps are most: the guest's doorbell, and three for an interrupt that
 * tells it what was sent. So once a guest has sent something, it need not ring again: its transmit queue is
 * looked at whenever its monitor runs anyway, as it does when the guest goes to sleep. And it hears of what
 * was sent together with the next frame that it receives, or when a quarter of its queue is sent. Both end
 * when it has sent nothing for 128 times as long as a run of the device takes (about 0.4 ms where that is 3
 * µs), 20 ms at most: so much may be added to a frame if the guest does not trap for any other reason
 * meanwhile.
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
    uint64_t tx_malformed; /* frames of the guest with an impossible length or header */
    uint64_t tx_oversize;  /* frames of the guest above the MTU */
    uint64_t rx_dropped;   /* frames given up because the guest gave no buffers */
    uint64_t rx_segmented; /* segmented frames that were cut up for a guest whose driver cannot take them */
    uint64_t rx_refused;   /* of those, frames that are no TCP that could be cut up */
    uint64_t peer_errors;  /* impossible entries from the switch */
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
    bool giving_up;          /* the guest gives no buffers: drop what comes */
    uint64_t stuck_since;    /* counter value since when a frame waits uncharged, or VIRTIO_NET_NEVER */
    uint64_t millisecond;    /* in ticks of the counter */
    struct account patience; /* of the time that frames have waited for the guest */
    uint64_t rx_due; /* when the patience ends with the guest for which a frame waits, or VIRTIO_NET_NEVER */
    uint32_t tx_untold; /* descriptors of sent frames, since the guest was last considered for an interrupt */
    bool tx_seen;       /* the last run took frames from the guest */
    bool polling; /* the guest need not ring for the next ones: its transmit queue is looked at anyway */
    uint64_t poll_until; /* when that ends if there are none */
    uint64_t cost;       /* of a run on average, in ticks */
    bool starved;        /* the last run found no room for a frame of the guest's */
    uint32_t segment;    /* of the frame at the front, the first that the guest does not have yet */
    struct virtio_net_counters counters;
};

#define VIRTIO_NET_NEVER UINT64_MAX

/* The port's shared rings and this port's own pool; sources are set by the caller before the first frame.
 * frequency: of the counter that `now` below comes from, in hertz. */
void virtio_net_init(struct virtio_net *net, const struct guest_ram *ram, const uint8_t mac[6], uint16_t mtu,
                     struct netq_port *port, uint8_t *pool, uint32_t pool_size, uint64_t frequency);

/* Moves what can be moved in both directions. True when the switch has to be notified. */
bool virtio_net_run(struct virtio_net *net);

/* Whether there are frames that the guest did not ring for. */
bool virtio_net_pending(struct virtio_net *net);

/* After each run: that it took so many ticks. */
void virtio_net_took(struct virtio_net *net, uint64_t ticks);

/* After each run: when something is due, or VIRTIO_NET_NEVER when nothing is. */
uint64_t virtio_net_deadline(struct virtio_net *net, uint64_t now);

/* Does what is due at `now`; a run has to follow. */
void virtio_net_due(struct virtio_net *net, uint64_t now);

/* The guest has let a frame wait for too long: the next run drops frames for it until it gives a buffer
 * again. */
void virtio_net_give_up(struct virtio_net *net);
