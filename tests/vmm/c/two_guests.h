/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Two guests at one switch: the network device of each, its driver, and the switch between them. Guest 1 may
 * open TCP to port 3240 of guest 0 and ping it; guest 0 may send UDP to port 53 of guest 1.
 *
 * The drivers use their queues as they should; what they send is up to the test. Whatever a driver receives
 * goes to `on_frame`, once it is what the guest's network stack would see: the checksum completed, segments
 * cut.
 */
#ifndef TWO_GUESTS_H
#define TWO_GUESTS_H

#include <string.h>

#include "forward.h"
#include "fuzz_virtio.h"
#include "virtio_net.h"

#define GUESTS 2u
#define MTU 1500u
#define MEMORY_BASE 0x40000000ULL
#define MEMORY_BYTES 0x80000u
#define QUEUE_SIZE 64u
#define QUEUE_BYTES 0x4000u
#define RX_SPACE 0x10000u /* offset of the receive buffers */
#define RX_BYTES 0x50000u
#define TX_SPACE 0x60000u /* of the frame to be sent, behind its header */
#define FRAME_BYTES (NETQ_FRAME_MAX + 16u)
#define POOL_BYTES NETQ_MIN_POOL_BYTES

enum {
    CSUM = 1 << 0,
    GUEST_CSUM = 1 << 1,
    GUEST_TSO4 = 1 << 7,
    HOST_TSO4 = 1 << 11,
    MRG_RXBUF = 1 << 15,
    ALL_FEATURES = CSUM | GUEST_CSUM | GUEST_TSO4 | HOST_TSO4 | MRG_RXBUF
};

struct sent_header {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t num_buffers;
};

struct guest {
    uint8_t memory[MEMORY_BYTES] __attribute__((aligned(4096)));
    struct guest_ram ram;
    struct virtio_net net;
    uint32_t features;
    uint16_t rx_taken; /* used entries that the driver has seen */
};

static const struct vswitch_port switch_ports[GUESTS] = {{{2, 0, 10, 77, 0, 2}, 0x0a4d0002, "server"},
                                                         {{2, 0, 10, 77, 0, 3}, 0x0a4d0003, "client"}};
static const struct vswitch_rule switch_rules[] = {
    {0, 1, VSWITCH_UDP, 53}, {1, 0, VSWITCH_TCP, 3240}, {1, 0, VSWITCH_ICMP_ECHO, 0}};
static const struct vswitch_config switch_config = {switch_ports, switch_rules, GUESTS, 3, 14 + MTU};
static struct netq_port rings[GUESTS];
static uint8_t pools[GUESTS][POOL_BYTES];
static const struct forward_port wires[GUESTS] = {{&rings[0], pools[0], POOL_BYTES, 0},
                                                  {&rings[1], pools[1], POOL_BYTES, 1}};
static struct forward forward;
static struct guest guests[GUESTS];

/* What guest `to` sees of a frame; the test defines it. */
static void on_frame(uint32_t to, const uint8_t *frame, uint32_t length);

static inline void store16(struct guest *guest, uint32_t at, uint32_t value)
{
    uint16_t narrow = (uint16_t)value;
    memcpy(guest->memory + at, &narrow, 2);
}

static inline uint32_t load16(const struct guest *guest, uint32_t at)
{
    uint16_t value;
    memcpy(&value, guest->memory + at, 2);
    return value;
}

static inline uint32_t load32(const struct guest *guest, uint32_t at)
{
    uint32_t value;
    memcpy(&value, guest->memory + at, 4);
    return value;
}

/* Queue n: descriptors at QUEUE_BYTES * n, the available ring a page on, the used ring two pages on. */
static inline void describe(struct guest *guest, uint32_t n, uint32_t slot, uint32_t at, uint32_t bytes,
                            uint32_t flags)
{
    uint32_t entry = QUEUE_BYTES * n + 16 * slot;
    uint64_t address = MEMORY_BASE + at;
    memcpy(guest->memory + entry, &address, 8);
    memcpy(guest->memory + entry + 8, &bytes, 4);
    store16(guest, entry + 12, flags);
    store16(guest, entry + 14, 0);
}

static inline void offer(struct guest *guest, uint32_t n, uint32_t slot)
{
    uint32_t ring = QUEUE_BYTES * n + QUEUE_BYTES / 4, index = load16(guest, ring + 2);
    store16(guest, ring + 4 + 2 * (index % QUEUE_SIZE), slot);
    store16(guest, ring + 2, index + 1);
}

/* Receive buffers: small ones that merge, or such that each holds the largest frame that may come. */
static inline uint32_t buffer_bytes(const struct guest *guest)
{
    return guest->features & MRG_RXBUF ? 0x800 : guest->features & GUEST_TSO4 ? 0x11000 : 0x800;
}

static inline uint32_t buffers(const struct guest *guest)
{
    uint32_t fit = RX_BYTES / buffer_bytes(guest);
    return fit < QUEUE_SIZE ? fit : QUEUE_SIZE;
}

/* The driver of a guest starts anew, with these of the features that the device offers. */
static inline void start_driver(struct guest *guest, uint32_t features)
{
    struct virtio_device *dev = &guest->net.dev;
    guest->features = features & (uint32_t)dev->offered;
    guest->rx_taken = 0;
    memset(guest->memory, 0, RX_SPACE);
    bring_up(dev, 2, MEMORY_BASE, QUEUE_BYTES, guest->features, QUEUE_SIZE);
    for (uint32_t slot = 0; slot < buffers(guest); slot++) {
        describe(guest, VIRTIO_NET_RX, slot, RX_SPACE + slot * buffer_bytes(guest), buffer_bytes(guest), 2);
        offer(guest, VIRTIO_NET_RX, slot);
    }
}

static inline void start_guests(uint32_t features0, uint32_t features1)
{
    memset(rings, 0, sizeof(rings));
    forward_init(&forward, &switch_config, wires, 1000000);
    for (uint32_t i = 0; i < GUESTS; i++) {
        struct guest *guest = &guests[i];
        guest->ram = (struct guest_ram){MEMORY_BASE, MEMORY_BYTES, guest->memory};
        virtio_net_init(&guest->net, &guest->ram, switch_ports[i].mac, MTU, &rings[i], pools[i], POOL_BYTES,
                        1000000);
        guest->net.source[1 - i] = (struct virtio_net_source){pools[1 - i], POOL_BYTES};
        start_driver(guest, i == 0 ? features0 : features1);
    }
}

static inline uint32_t word_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 8 | bytes[1];
}

/* RFC 1071, over bytes from `from` up to `to`. */
static inline uint32_t internet_sum(const uint8_t *bytes, uint32_t from, uint32_t to)
{
    uint32_t sum = 0;
    for (uint32_t i = from; i < to; i += 2) {
        sum += (uint32_t)bytes[i] << 8 | (i + 1 < to ? bytes[i + 1] : 0u);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

/* What virtio's 5.1.6.4.2 has a driver do: the sum from csum_start on goes to csum_offset behind it. */
static inline bool complete(uint8_t *frame, uint32_t length, const struct sent_header *header)
{
    uint32_t place = (uint32_t)header->csum_start + header->csum_offset;
    if (place + 2 > length) {
        return false;
    }
    uint32_t sum = internet_sum(frame, header->csum_start, length) ^ 0xffff;
    frame[place] = (uint8_t)(sum >> 8);
    frame[place + 1] = (uint8_t)sum;
    return true;
}

/* Cuts the payload behind the TCP header at csum_start, as a network stack does, and shows each segment. */
static inline bool cut(uint32_t to, const uint8_t *frame, uint32_t length, const struct sent_header *header)
{
    static uint8_t segment[FRAME_BYTES];
    uint32_t tcp = header->csum_start;
    if (header->gso_size == 0 || tcp + 20 > length) {
        return false;
    }
    uint32_t headers = tcp + 4u * (frame[tcp + 12] >> 4);
    if (headers > length) {
        return false;
    }
    for (uint32_t at = headers; at < length || at == headers; at += header->gso_size) {
        uint32_t part = length - at < header->gso_size ? length - at : header->gso_size;
        memcpy(segment, frame, headers);
        memcpy(segment + headers, frame + at, part);
        segment[16] = (uint8_t)((headers - 14 + part) >> 8);
        segment[17] = (uint8_t)(headers - 14 + part);
        if (!complete(segment, headers + part, header)) {
            return false;
        }
        on_frame(to, segment, headers + part);
    }
    return true;
}

/* One frame from the used entries of a driver; false when there is none. */
static inline bool receive_one(uint32_t to)
{
    static uint8_t frame[FRAME_BYTES + 0x800];
    struct guest *guest = &guests[to];
    uint32_t used = 0x2000, length = 0, pieces = 1;
    struct sent_header header = {0};
    if (load16(guest, used + 2) == guest->rx_taken) {
        return false;
    }
    for (uint32_t piece = 0; piece < pieces; piece++) {
        uint32_t entry = used + 4 + 8 * (guest->rx_taken++ % QUEUE_SIZE);
        uint32_t slot = load32(guest, entry), bytes = load32(guest, entry + 4);
        uint32_t at = RX_SPACE + slot * buffer_bytes(guest), skip = piece == 0 ? sizeof(header) : 0;
        require(slot < buffers(guest) && bytes > skip && bytes <= buffer_bytes(guest));
        if (piece == 0) {
            memcpy(&header, guest->memory + at, sizeof(header));
            pieces = header.num_buffers;
            require(pieces >= 1 && (pieces == 1 || (guest->features & MRG_RXBUF)));
        }
        require(length + bytes - skip <= NETQ_FRAME_MAX);
        memcpy(frame + length, guest->memory + at + skip, bytes - skip);
        length += bytes - skip;
        memset(guest->memory + at, 0xee, bytes);
        offer(guest, VIRTIO_NET_RX, slot);
    }
    require((header.flags & ~1) == 0 && (header.flags == 0 || (guest->features & GUEST_CSUM)));
    if (header.gso_type != 0) {
        require(header.gso_type == 1 && header.flags == 1 && (guest->features & GUEST_TSO4));
        require(cut(to, frame, length, &header));
        return true;
    }
    if (header.flags != 0) {
        require(complete(frame, length, &header));
    }
    on_frame(to, frame, length);
    return true;
}

/* Until nothing moves any more. */
static inline void settle(void)
{
    bool again = true;
    while (again) {
        uint64_t wake;
        for (uint32_t i = 0; i < GUESTS; i++) {
            virtio_net_run(&guests[i].net);
        }
        again = forward_pass(&forward, 0, &wake);
        for (uint32_t i = 0; i < GUESTS; i++) {
            virtio_net_run(&guests[i].net);
            while (receive_one(i)) {
                again = true;
            }
        }
    }
}

/* Sends what lies at TX_SPACE in a guest's memory: a header of 12 bytes and `length` bytes of frame. */
static inline void send_frame(uint32_t from, uint32_t length)
{
    describe(&guests[from], VIRTIO_NET_TX, 0, TX_SPACE, 12 + length, 0);
    offer(&guests[from], VIRTIO_NET_TX, 0);
    settle();
}

/* Honest frames, as the start of what a test sends. */
enum template { SYN_TO_3240, DATA_TO_3240, DATA_FROM_3240, DATAGRAM, DATAGRAM_BACK, PING, ASK, TEMPLATES };

static inline uint32_t template_sender(enum template kind)
{
    return kind == DATA_FROM_3240 || kind == DATAGRAM;
}

/* Writes a frame with `payload` bytes and an honest header (TCP above the MTU: segmented by 1,000 bytes) to
 * TX_SPACE of its sender, which is guest 0 where template_sender() says so, else guest 1. Returns its length.
 */
static inline uint32_t compose(enum template kind, uint32_t payload)
{
    uint32_t from = template_sender(kind) ? 0 : 1, to = 1 - from;
    struct guest *guest = &guests[from];
    struct sent_header header = {0};
    uint8_t *f = guest->memory + TX_SPACE + 12, *ip = f + 14, *l4 = f + 34;
    memset(f, 0, 54);
    memcpy(f, switch_ports[to].mac, 6);
    memcpy(f + 6, switch_ports[from].mac, 6);
    if (kind == ASK) {
        memset(f, 0xff, 6);
        memcpy(f + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10);
        memcpy(f + 22, switch_ports[from].mac, 6);
        memcpy(f + 28, "\x0a\x4d\x00\x03\x00\x00\x00\x00\x00\x00\x0a\x4d\x00\x02", 14);
        memcpy(f - 12, &header, sizeof(header));
        return 42;
    }
    bool tcp = kind <= DATA_FROM_3240, udp = kind == DATAGRAM || kind == DATAGRAM_BACK;
    uint32_t l4_header = tcp ? 20 : 8, total = 20 + l4_header + payload;
    memcpy(f + 12, "\x08\x00\x45\x00", 4);
    ip[2] = (uint8_t)(total >> 8);
    ip[3] = (uint8_t)total;
    memcpy(ip + 6, "\x40\x00\x40", 3);
    ip[9] = tcp ? 6 : udp ? 17 : 1;
    memcpy(ip + 12, "\x0a\x4d\x00", 3);
    memcpy(ip + 16, "\x0a\x4d\x00", 3);
    ip[15] = (uint8_t)(2 + from);
    ip[19] = (uint8_t)(2 + to);
    static const char *const ports[] = {"\x9c\x40\x0c\xa8", "\x9c\x40\x0c\xa8", "\x0c\xa8\x9c\x40",
                                        "\x9c\x40\x00\x35", "\x00\x35\x9c\x40", "\x08\x00\x00\x00"};
    memcpy(l4, ports[kind], 4);
    if (tcp) {
        l4[12] = 0x50;
        l4[13] = kind == SYN_TO_3240 ? 0x02 : 0x10;
    } else if (udp) {
        l4[4] = (uint8_t)((8 + payload) >> 8);
        l4[5] = (uint8_t)(8 + payload);
    }
    for (uint32_t i = 0; i < payload; i++) {
        l4[l4_header + i] = (uint8_t)(i * 7);
    }
    if ((tcp || udp) && (guest->features & CSUM)) {
        /* The pseudo header's sum, which the rest is added to (5.1.6.2). */
        uint8_t pseudo[12] = {0};
        memcpy(pseudo, ip + 12, 8);
        pseudo[9] = ip[9];
        pseudo[10] = (uint8_t)((total - 20) >> 8);
        pseudo[11] = (uint8_t)(total - 20);
        uint32_t sum = internet_sum(pseudo, 0, 12), place = tcp ? 16 : 6;
        l4[place] = (uint8_t)(sum >> 8);
        l4[place + 1] = (uint8_t)sum;
        header = (struct sent_header){.flags = 1, .csum_start = 34, .csum_offset = (uint16_t)place};
    }
    if (tcp && total > MTU) {
        header.gso_type = 1;
        header.hdr_len = 54;
        header.gso_size = 1000;
    }
    memcpy(f - 12, &header, sizeof(header));
    return 14 + total;
}

#endif
