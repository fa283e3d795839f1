/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A switch of three ports behind its shared rings: port 0 may talk to 1, and to 2, by UDP to port 7.
 */
#ifndef THREE_PORTS_H
#define THREE_PORTS_H

#include <stdlib.h>
#include <string.h>

#include "forward.h"

#ifndef POOL_BYTES
#define POOL_BYTES NETQ_MIN_POOL_BYTES
#endif
#define PORTS 3u

static const struct vswitch_port ports[PORTS] = {{{2, 0, 10, 77, 0, 2}, 0x0a4d0002, "a"},
                                                 {{2, 0, 10, 77, 0, 3}, 0x0a4d0003, "b"},
                                                 {{2, 0, 10, 77, 0, 4}, 0x0a4d0004, "c"}};
static const struct vswitch_rule rules[2] = {{0, 1, VSWITCH_UDP, 7}, {0, 2, VSWITCH_UDP, 7}};
static const struct vswitch_config config = {ports, rules, PORTS, 2, VSWITCH_FRAME_MAX};
static struct netq_port shared[PORTS];
static uint8_t pools[PORTS][POOL_BYTES];
static const struct forward_port wires[PORTS] = {{&shared[0], pools[0], POOL_BYTES, 0},
                                                 {&shared[1], pools[1], POOL_BYTES, 1},
                                                 {&shared[2], pools[2], POOL_BYTES, 2}};
static struct forward forward;

/* The switch at this time until it would sleep, with so many ticks for each frame; the ports (bit set) that
 * it notifies meanwhile. It sleeps until a time that is still to come. */
static inline uint64_t forward_run_at(struct forward *f, uint64_t now, uint64_t each)
{
    uint64_t all = 0, wake;
    bool again;
    do {
        again = forward_pass(f, now, &wake);
        forward_took(f, f->judged * each);
        all |= wake;
    } while (again);
    if (forward_deadline(f) <= now) {
        abort();
    }
    return all;
}

static inline uint64_t forward_run(struct forward *f)
{
    return forward_run_at(f, 0, 0);
}

/* Puts a frame of port 0 into its pool: 60 bytes, UDP to port 7 of `to`, or with -1 an ARP request to all. */
static inline void compose(uint32_t offset, int to)
{
    uint8_t *f = pools[0] + offset;
    memset(f, 0, 60);
    memcpy(f + 6, ports[0].mac, 6);
    if (to < 0) {
        memset(f, 0xff, 6);
        memcpy(f + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10);
        memcpy(f + 22, ports[0].mac, 6);
        memcpy(f + 28, "\x0a\x4d\x00\x02", 4);
        memcpy(f + 38, "\x0a\x4d\x00\x03", 4);
        return;
    }
    memcpy(f, ports[to].mac, 6);
    memcpy(f + 12, "\x08\x00\x45\x00\x00\x2e\x00\x00\x40\x00\x40\x11\x00\x00\x0a\x4d\x00\x02\x0a\x4d\x00",
           21);
    f[33] = (uint8_t)(to + 2);
    memcpy(f + 34, "\x30\x39\x00\x07\x00\x1a\x00\x00", 8);
}

#endif
