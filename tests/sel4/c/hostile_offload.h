/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * An attack by offload metadata: SYNs that a rule allows, whose virtio header asks the receiving side to
 * write over what the switch has judged, or to segment what is no TCP. One honest SYN after them is answered,
 * so the way is open.
 */
#ifndef HOSTILE_OFFLOAD_H
#define HOSTILE_OFFLOAD_H

#include "hostile_net.h"

#define USBIP 3240u
#define FORGED 7000u /* our first port of forged SYNs */
#define HONEST 8000u
#define HONEST_SECONDS 10u
#define CSUM_AND_HOST_TSO4 (1u << 0 | 1u << 11)

struct offload {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
};

static inline void put16_at(uint64_t at, uint32_t value)
{
    ((volatile uint8_t *)at)[0] = (uint8_t)(value >> 8);
    ((volatile uint8_t *)at)[1] = (uint8_t)value;
}

static inline uint32_t sum_of(uint64_t at, uint32_t bytes, uint32_t sum)
{
    for (uint32_t i = 0; i < bytes; i += 2) {
        const volatile uint8_t *p = (const volatile uint8_t *)(at + i);
        sum += (uint32_t)p[0] << 8 | p[1];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* A SYN from `port` to the peer's port 3240, 54 bytes behind a virtio header; the checksum is left to be
 * finished. */
static inline void compose_syn(uint64_t buffer, uint32_t port, const struct offload *offload)
{
    static const uint8_t type[4] = {8, 0, 0x45, 0};
    uint64_t frame = buffer + 12;
    for (uint32_t i = 0; i < 12 + 60; i++) {
        ((volatile uint8_t *)buffer)[i] = i < sizeof(*offload) ? ((const uint8_t *)offload)[i] : 0;
    }
    put(frame, peer_mac, 6);
    put(frame + 6, mac, 6);
    put(frame + 12, type, 4);
    put16_at(frame + 16, 40);
    put16_at(frame + 20, 0x4000); /* not to be fragmented */
    put16_at(frame + 22, 64 << 8 | 6);
    put(frame + 26, own_ip, 4);
    put(frame + 30, peer_ip, 4);
    put16_at(frame + 24, sum_of(frame + 14, 20, 0) ^ 0xffff);
    put16_at(frame + 34, port);
    put16_at(frame + 36, USBIP);
    put16_at(frame + 46, 0x5002);
    put16_at(frame + 48, 1024);
    put16_at(frame + 50, sum_of(frame + 26, 8, 6 + 20));
}

struct answers {
    uint32_t forged; /* to ports from FORGED on */
    uint32_t honest; /* to port HONEST */
};

/* Segments of TCP that come for our ports, until `ticks` have gone by or an honest one came. */
static inline void count_answers(struct good *good, uint64_t ticks, struct answers *found)
{
    const volatile uint16_t *used = (const volatile uint16_t *)(QUEUE(0) + 0x2000);
    const volatile uint32_t *entry = (const volatile uint32_t *)(QUEUE(0) + 0x2004);
    uint32_t before = found->honest;
    for (uint64_t end = now() + ticks; now() < end && found->honest == before;) {
        while (used[1] != good->received) {
            uint32_t id = entry[2 * (good->received++ % GOOD_SIZE)];
            const volatile uint8_t *f =
                (const volatile uint8_t *)(BUFFERS + 0x1000ULL * (id % GOOD_SIZE) + 12);
            uint32_t port = (uint32_t)f[36] << 8 | f[37];
            if (f[12] == 8 && f[13] == 0 && f[23] == 6) {
                found->forged += port >= FORGED && port < FORGED + 64;
                found->honest += port == HONEST;
            }
            give_back(good, id);
        }
    }
}

static inline void forge_offloads(void)
{
    static const struct offload forged[] = {
        {1, 0, 0, 0, 34, 2},       /* over the destination port */
        {1, 0, 0, 0, 36, 0},       /* the same */
        {1, 0, 0, 0, 34, 13},      /* over the flags */
        {1, 0, 0, 0, 26, 0},       /* over the source address */
        {1, 0, 0, 0, 14, 0},       /* over IPv4's version */
        {1, 0, 0, 0, 34, 6},       /* as if it were UDP */
        {1, 1, 0xffff, 8, 34, 16}, /* headers beyond the frame */
        {1, 1, 54, 7, 34, 16},     /* tiny segments */
        {1, 1, 54, 1461, 34, 16},  /* segments above the MTU */
    };
    static const struct offload honest = {1, 0, 0, 0, 34, 16};
    struct good good;
    uint64_t buffer = BUFFERS + 0x1000 * GOOD_SIZE;
    uint32_t sent = 0;
    if (!talk() || !bring_up_with(NET, &good, CSUM_AND_HOST_TSO4)) {
        say("hostile: cannot forge offloads\n");
        return;
    }
    for (uint32_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        compose_syn(buffer, FORGED + i, &forged[i]);
        sent += transmit(&good, buffer, 54);
    }
    struct answers found = {0, 0};
    compose_syn(buffer, HONEST, &honest);
    sent += transmit(&good, buffer, 54);
    /* The switch takes frames in order, but late where this guest still owes time for an earlier attack. */
    count_answers(&good, HONEST_SECONDS * hertz(), &found);
    count_answers(&good, hertz(), &found); /* a late answer to a forged one */
    /* All at once: a line that pauses is ended by the console. */
    say_number("hostile: forged offloads ", sent, "");
    say_number(" answered ", found.forged, "");
    say_number(" honest ", found.honest != 0, "\n");
    set(NET, 0x70, 0);
}

#endif
