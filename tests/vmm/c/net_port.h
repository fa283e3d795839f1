/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A network device on one port, and the test in the places of its guest's driver and of the switch.
 */
#ifndef NET_PORT_H
#define NET_PORT_H

#include "driver.h"
#include "virtio_net.h"

#define F_CSUM (1ULL << 0)
#define F_GUEST_CSUM (1ULL << 1)
#define F_GUEST_TSO4 (1ULL << 7)
#define F_HOST_TSO4 (1ULL << 11)
#define F_MRG (1ULL << 15)
#define SIZE 64
#define POOL NETQ_MIN_POOL_BYTES
#define SECOND 1000000u /* ticks of the tests' counter */

/* One port: our device, and this test in the place of the switch. Port 5 is the only other one. */
static struct virtio_net net;
static struct netq_port port;
static uint8_t pool[POOL], other_pool[POOL];
static struct netq_end tx, tx_done, rx, rx_done;

static const uint8_t mac[6] = {2, 0, 10, 77, 0, 2};

static inline void start(uint64_t features)
{
    memset(&port, 0, sizeof(port));
    virtio_net_init(&net, &ram, mac, 1500, &port, pool, POOL, SECOND);
    net.source[5] = (struct virtio_net_source){other_pool, POOL};
    netq_attach(&tx, &port.tx);
    netq_attach(&tx_done, &port.tx_done);
    netq_attach(&rx, &port.rx);
    netq_attach(&rx_done, &port.rx_done);
    bring_up(&net.dev, features, SIZE);
}

/* Offers a frame of `length` bytes behind a header, in one buffer. */
static inline void send(uint16_t slot, const uint8_t header[12], uint32_t length)
{
    uint64_t place = DATA + 0x800u * slot;
    memcpy(at(place), header, 12);
    for (uint32_t i = 0; i < length; i++) {
        *at(place + 12 + i) = (uint8_t)(slot + i);
    }
    describe(VIRTIO_NET_TX, slot, place, 12 + length, 0, 0);
    offer(VIRTIO_NET_TX, SIZE, slot);
}

static const uint8_t plain[12] = {0};

/* Whether a frame waits for a buffer of the guest. */
static inline bool waits(void)
{
    return virtio_net_deadline(&net, 0) != VIRTIO_NET_NEVER;
}

static inline void give_buffers(uint16_t count, uint32_t bytes)
{
    for (uint16_t i = 0; i < count; i++) {
        describe(VIRTIO_NET_RX, i, DATA + bytes * i, bytes, WRITE, 0);
        offer(VIRTIO_NET_RX, SIZE, i);
    }
}

static inline void arrive(struct netq_frame frame)
{
    frame.owner = 5;
    netq_put(&rx, &frame);
    netq_show(&rx);
}

#endif
