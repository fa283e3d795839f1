/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The switch between shared rings: takes frames from the ports' tx rings, lets the core judge them, and
 * passes references to the receivers. It reads only the first bytes of a frame and copies no payload.
 *
 * A frame stays in its owner's pool until every receiver has copied it; the switch tracks who still holds it.
 * If a receiver's ring is full, the frame waits, and its sender's next frames wait behind it. A receiver
 * gives its frames back after a bounded time even when its guest does not take them (see virtio_net.h).
 *
 * Everything that a VMM writes into its rings is checked. A place outside its pool, a ticket in use, or the
 * return of a frame that it does not hold is counted as a breach and ignored.
 *
 * Each port has an account of the time that its frames take: the switch's own, which is measured, and as a
 * multiple of it the time of the receivers' VMMs and guests. No more frames are taken from a port that owes
 * too much until it has paid: they wait in its own ring, then in its guest's queue.
 *
 * Only the sender of a frame is ever charged for it, so that no port can spend what belongs to another one. A
 * flood must still cost its receiver nothing, which often answers it. So a frame that asks (see
 * vswitch_verdict) costs as much again, and pays in advance for one answer of a small frame's price from that
 * receiver to this sender. A frame that asks is never paid by its receiver: else a guest that once sent a
 * frame without an answer would pay for its flooder's questions. Up to NETQ_ENTRIES answers are paid in
 * advance between two ports: that is how many frames may be on the way, and what can be saved for a burst.
 *
 * All of this is so for vsock packets as well, where the guests have vsock devices instead of network devices
 * (packets.c). A packet goes to one port; what refuses or ends a connection goes back to its guest as a RST
 * of the switch's own, which takes an entry of its ring and no pool.
 *
 * While the processor is idle, a port that owes too much takes time from no other guest. So the switch asks a
 * protection domain of the lowest priority, and each answer lets such ports send a little more, which they
 * share.
 */

#include "account.h"
#include "netq.h"
#include "vsock.h"
#include "vswitch.h"

struct forward_port {
    struct netq_port *rings;
    const uint8_t *pool; /* read-only */
    uint32_t pool_size;
    uint8_t channel; /* to the VMM */
};

/* A judged frame that waits for room; `to` is empty if there is none. */
struct forward_front {
    struct netq_frame frame;
    uint64_t to;
};

/* Passes since the average was last updated. */
struct forward_sample {
    uint64_t ticks;
    uint32_t judged;
    uint32_t dropped;
};

#define FORWARD_NEVER UINT64_MAX

struct forward {
    const struct vswitch_config *config;
    struct vswitch_state state;
    const struct vsock_config *vsock; /* NULL: the guests have network devices */
    struct vsock_state *vsock_state;
    uint32_t port_count;
    const struct forward_port *ports;
    struct netq_end tx[VSWITCH_MAX_PORTS];
    struct netq_end tx_done[VSWITCH_MAX_PORTS];
    struct netq_end rx[VSWITCH_MAX_PORTS];
    struct netq_end rx_done[VSWITCH_MAX_PORTS];
    uint64_t holders[VSWITCH_MAX_PORTS]
                    [NETQ_ENTRIES];                /* receivers that have not returned this port's frame */
    uint32_t held[VSWITCH_MAX_PORTS];              /* frames that a port has and has not returned */
    uint32_t resets[VSWITCH_MAX_PORTS];            /* those of them that are RSTs of the switch's own */
    struct forward_front front[VSWITCH_MAX_PORTS]; /* each port's next frame */
    uint64_t breaches[VSWITCH_MAX_PORTS];
    struct account account[VSWITCH_MAX_PORTS];
    bool paused[VSWITCH_MAX_PORTS]; /* owes too much */
    /* Answers from the second port to the first one that the first has paid for. */
    uint16_t prepaid[VSWITCH_MAX_PORTS][VSWITCH_MAX_PORTS];
    uint64_t millisecond; /* counter ticks */
    uint64_t cost;        /* scaled ticks that a frame takes, a running average */
    uint32_t judged;      /* frames in the last pass, */
    uint32_t dropped;     /* and those of them that went nowhere */
    struct forward_sample sample;
};

/* frequency: counter ticks a second. NULL, or what is wrong with the configuration. */
const char *forward_init(struct forward *f, const struct vswitch_config *config,
                         const struct forward_port *ports, uint64_t frequency);

/* The same for guests with vsock devices; `state` is the caller's because it is large. */
const char *forward_init_vsock(struct forward *f, const struct vsock_config *config,
                               struct vsock_state *state, const struct forward_port *ports,
                               uint64_t frequency);

/* Moves frames, at most one ring full per port, at this counter value. wake: ports (bit set) whose VMMs must
 * be notified. Returns false if the switch may sleep until it is notified, or until forward_deadline(). */
bool forward_pass(struct forward *f, uint64_t now, uint64_t *wake);

/* The last pass took so many ticks. */
void forward_took(struct forward *f, uint64_t ticks);

/* Whether a port has frames that wait only because it owes too much. */
bool forward_owes(struct forward *f);

/* The processor is idle: the ports that wait only because they owe too much share a small debt. */
void forward_idle(struct forward *f, uint64_t now);

/* When the first of the ports that owe too much has paid, or FORWARD_NEVER. */
uint64_t forward_deadline(const struct forward *f);
