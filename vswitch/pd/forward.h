/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The switch between shared queues: takes frames from the ports' tx rings, asks the core who may have them,
 * and passes references on. It reads the first bytes of a frame and copies none.
 *
 * A frame stays in its owner's pool until every receiver has copied it; the switch keeps who still holds
 * which. It waits for a receiver whose ring is full rather than drop, and its sender's next frames wait
 * behind it. A receiver gives its frames back after a bounded time even when its guest does not take them
 * (see virtio_net.h).
 *
 * What a monitor writes into its rings is checked: a place outside its pool, a ticket that is out, or the
 * return of a frame that was not given to it is counted as a breach and ignored.
 */

#include "netq.h"
#include "vswitch.h"

struct forward_port {
    struct netq_port *rings;
    const uint8_t *pool; /* read-only */
    uint32_t pool_size;
    uint8_t channel; /* to the monitor */
};

/* A frame that was judged and waits for room; `to` is empty when there is none. */
struct forward_front {
    struct netq_frame frame;
    uint64_t to;
};

struct forward {
    const struct vswitch_config *config;
    struct vswitch_state state;
    const struct forward_port *ports;
    struct netq_end tx[VSWITCH_MAX_PORTS];
    struct netq_end tx_done[VSWITCH_MAX_PORTS];
    struct netq_end rx[VSWITCH_MAX_PORTS];
    struct netq_end rx_done[VSWITCH_MAX_PORTS];
    uint64_t holders[VSWITCH_MAX_PORTS][NETQ_ENTRIES]; /* who has not yet returned this port's frame */
    uint32_t held[VSWITCH_MAX_PORTS];                  /* frames that a port has and has not returned */
    struct forward_front front[VSWITCH_MAX_PORTS];     /* the frame of each port that is next to go */
    uint64_t breaches[VSWITCH_MAX_PORTS];
};

/* NULL, or what is wrong with the configuration. */
const char *forward_init(struct forward *f, const struct vswitch_config *config,
                         const struct forward_port *ports);

/* Moves what is there to be moved, from each port a ring full at most, and gives the ports (bit set) whose
 * monitors have to be notified. True: there may be more to do, else the switch may sleep. */
bool forward_pass(struct forward *f, uint64_t *wake);
