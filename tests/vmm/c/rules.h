/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The rules of two_guests.h, written from docs/reference/vswitch.md and apart from the switch's own code:
 * whether a guest may see a frame that the other one sent. The frame is complete: no checksum to be finished,
 * no segments.
 */
#ifndef RULES_H
#define RULES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* NULL, or the rule that the frame of guest `from` to the other one breaks. */
static inline const char *broken_rule(uint32_t from, const uint8_t *f, uint32_t length);

static const uint8_t rule_macs[2][6] = {{2, 0, 10, 77, 0, 2}, {2, 0, 10, 77, 0, 3}};
static const uint8_t rule_addresses[2][4] = {{10, 77, 0, 2}, {10, 77, 0, 3}};

static inline uint32_t rule_word(const uint8_t *p)
{
    return (uint32_t)(p[0] * 256 + p[1]);
}

static inline const char *broken_arp(uint32_t from, const uint8_t *f, uint32_t length)
{
    uint32_t to = 1 - from;
    bool broadcast = memcmp(f, "\xff\xff\xff\xff\xff\xff", 6) == 0;
    if (length < 42 || length > 60 || memcmp(f + 14, "\x00\x01\x08\x00\x06\x04\x00", 7) != 0 ||
        (f[21] != 1 && f[21] != 2)) {
        return "ARP is a request or a reply for IPv4";
    }
    if (memcmp(f + 22, rule_macs[from], 6) != 0 || memcmp(f + 28, rule_addresses[from], 4) != 0) {
        return "ARP has its sender's own addresses";
    }
    bool announcement = broadcast && memcmp(f + 38, rule_addresses[from], 4) == 0;
    if (!announcement && memcmp(f + 38, rule_addresses[to], 4) != 0) {
        return "ARP asks for the receiver, or announces the sender";
    }
    return NULL;
}

/* Whether a conversation's packet of 8 bytes or more may go from one guest to the other. */
static inline bool rule_allows(uint32_t from, uint32_t protocol, const uint8_t *l4)
{
    uint32_t source = rule_word(l4), target = rule_word(l4 + 2);
    switch (protocol) {
    case 6:
        return from == 1 ? target == 3240 : source == 3240;
    case 17:
        return from == 0 ? target == 53 : source == 53;
    case 1:
        return l4[0] == (from == 1 ? 8 : 0);
    default:
        return false;
    }
}

static inline const char *broken_icmp(uint32_t from, const uint8_t *l4, uint32_t bytes)
{
    if (bytes < 8) {
        return "ICMP has a header";
    }
    if (l4[0] != 3) {
        return rule_allows(from, 1, l4) && l4[1] == 0 ? NULL : "ICMP is an echo in its direction";
    }
    const uint8_t *quote = l4 + 8;
    if (bytes < 36 || l4[1] > 15 || quote[0] != 0x45 || (rule_word(quote + 6) & 0x1fff) != 0 ||
        memcmp(quote + 12, rule_addresses[1 - from], 4) != 0 ||
        memcmp(quote + 16, rule_addresses[from], 4) != 0 || !rule_allows(1 - from, quote[9], quote + 20)) {
        return "an ICMP error quotes a packet of the receiver's that was allowed";
    }
    return NULL;
}

static inline const char *broken_rule(uint32_t from, const uint8_t *f, uint32_t length)
{
    uint32_t to = 1 - from;
    if (length < 14 || length > 1514) {
        return "a frame fits the MTU";
    }
    if (memcmp(f + 6, rule_macs[from], 6) != 0) {
        return "a frame has its sender's MAC address";
    }
    bool broadcast = memcmp(f, "\xff\xff\xff\xff\xff\xff", 6) == 0;
    if (rule_word(f + 12) == 0x0806 && (broadcast || memcmp(f, rule_macs[to], 6) == 0)) {
        return broken_arp(from, f, length);
    }
    if (memcmp(f, rule_macs[to], 6) != 0 || rule_word(f + 12) != 0x0800) {
        return "a frame is IPv4 to the receiver's MAC address";
    }
    const uint8_t *ip = f + 14, *l4 = f + 34;
    uint32_t total = rule_word(ip + 2);
    if (length < 34 || ip[0] != 0x45 || total < 20 || 14 + total > length ||
        (14 + total != length && length > 60)) {
        return "a packet has a header of 20 bytes and fills its frame";
    }
    if (memcmp(ip + 12, rule_addresses[from], 4) != 0 || memcmp(ip + 16, rule_addresses[to], 4) != 0) {
        return "a packet has the addresses of the two guests";
    }
    if ((rule_word(ip + 6) & 0xbfff) != 0) {
        return "a packet is not a fragment";
    }
    uint32_t bytes = total - 20;
    if (ip[9] == 1) {
        return broken_icmp(from, l4, bytes);
    }
    if ((ip[9] != 6 && ip[9] != 17) || bytes < (ip[9] == 6 ? 20u : 8u) || !rule_allows(from, ip[9], l4)) {
        return "a packet belongs to a conversation that is allowed";
    }
    if (ip[9] == 17) {
        return rule_word(l4 + 4) == bytes ? NULL : "a datagram's length is its packet's";
    }
    if ((l4[12] >> 4) < 5 || 4u * (l4[12] >> 4) > bytes) {
        return "TCP has a whole header";
    }
    bool opens = (l4[13] & 0x12) == 0x02;
    return opens && from == 0 ? "only the client opens a TCP connection" : NULL;
}

#endif
