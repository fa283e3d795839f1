/* SPDX-License-Identifier: BSD-2-Clause */

/* The network as a good driver uses it. */
#ifndef HOSTILE_NET_H
#define HOSTILE_NET_H

#include "hostile_driver.h"

/* Sends `length` bytes that lie behind 12 bytes of header; false when the device does not take them. */
static inline bool transmit(struct good *good, uint64_t buffer, uint32_t length)
{
    volatile struct descriptor *tx = (volatile struct descriptor *)QUEUE(1);
    volatile uint16_t *avail = (volatile uint16_t *)(QUEUE(1) + 0x1000);
    const volatile uint16_t *used = (const volatile uint16_t *)(QUEUE(1) + 0x2000);
    uint16_t slot = good->sent % GOOD_SIZE;
    tx[slot] = (struct descriptor){buffer, 12 + length, 0, 0};
    avail[2 + slot] = slot;
    avail[1] = ++good->sent;
    set(NET, 0x50, 1);
    uint64_t end = now() + hertz();
    while (used[1] != good->sent && now() < end) {
    }
    return used[1] == good->sent;
}

static const uint8_t mac[6] = MAC;
static const uint8_t own_ip[4] = OWN_IP;
static const uint8_t peer_ip[4] = PEER_IP;
static uint8_t peer_mac[6]; /* once it has answered */

static inline void put(uint64_t at, const uint8_t *bytes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        ((volatile uint8_t *)at)[i] = bytes[i];
    }
}

/* An ARP request for the peer's address. */
static inline void compose(uint64_t frame)
{
    static const uint8_t type[10] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
    for (uint32_t i = 0; i < 72; i++) {
        ((volatile uint8_t *)frame)[i] = i >= 12 && i < 18 ? 0xff : 0;
    }
    put(frame + 12 + 6, mac, 6);
    put(frame + 12 + 12, type, 10);
    put(frame + 12 + 22, mac, 6);
    put(frame + 12 + 28, own_ip, 4);
    put(frame + 12 + 38, peer_ip, 4);
}

/* Gives a buffer back, once its frame was counted in `received`: frames for everybody come all the time, and
 * the queue is short. */
static inline void give_back(const struct good *good, uint32_t id)
{
    volatile uint16_t *avail = (volatile uint16_t *)(QUEUE(0) + 0x1000);
    uint16_t given = (uint16_t)(GOOD_SIZE + good->received);
    avail[2 + (uint16_t)(given - 1) % GOOD_SIZE] = (uint16_t)(id % GOOD_SIZE);
    avail[1] = given;
    set(NET, 0x50, 0);
}

static inline bool answered(struct good *good)
{
    const volatile uint16_t *used = (volatile uint16_t *)(QUEUE(0) + 0x2000);
    const volatile uint32_t *entry = (volatile uint32_t *)(QUEUE(0) + 0x2004);
    uint64_t end = now() + 2 * hertz();
    while (now() < end) {
        while (used[1] != good->received) {
            uint32_t id = entry[2 * (good->received++ % GOOD_SIZE)];
            const volatile uint8_t *frame = (volatile uint8_t *)(BUFFERS + 0x1000ULL * (id % GOOD_SIZE) + 12);
            bool arp = frame[12] == 8 && frame[13] == 6 && frame[21] == 2;
            if (arp && frame[28] == peer_ip[0] && frame[31] == peer_ip[3]) {
                for (uint32_t i = 0; i < 6; i++) {
                    peer_mac[i] = frame[22 + i];
                }
                return true;
            }
            give_back(good, id);
        }
    }
    return false;
}

/* Whether the network works once the device is driven as it should be. */
static inline bool talk(void)
{
    struct good good;
    for (uint32_t attempt = 0; attempt < 10; attempt++) {
        uint64_t frame = BUFFERS + 0x1000 * GOOD_SIZE;
        compose(frame);
        if (bring_up(NET, &good) && transmit(&good, frame, 60) && answered(&good)) {
            return true;
        }
    }
    return false;
}

#endif
