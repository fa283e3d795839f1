/* SPDX-License-Identifier: BSD-2-Clause */
#include "wire.h"

#define ETHERNET_HEADER 14u
/* The shortest Ethernet frame without its check sequence (IEEE 802.3): a shorter one may have been padded to
 * this. */
#define ETHERNET_PADDED 60u
#define ARP_LENGTH 28u
#define IPV4_HEADER_LENGTH 20u
#define MIN_TCP_HEADER 20u
#define UDP_HEADER_LENGTH 8u
#define ICMP_HEADER_LENGTH 8u
/* An ICMP error quotes the offending packet's IPv4 header and at least 8 bytes behind it (RFC 792). */
#define MIN_ICMP_QUOTE (IPV4_HEADER_LENGTH + 8u)
/* The longest IPv4 packet whose length fits the header's field. */
#define IPV4_TOTAL_MAX 65535u
#define TCP_CHECKSUM 16u /* offset of the checksum in a TCP header */
#define UDP_CHECKSUM 6u

/* Offsets in a frame. They are constants because options are refused: an IPv4 header always has 20 bytes
 * here. */
enum {
    DESTINATION_MAC = 0,
    SOURCE_MAC = 6,
    ETHERTYPE = 12,
    ARP = 14,
    ARP_OPERATION = ARP + 6,
    ARP_SENDER_MAC = ARP + 8,
    ARP_SENDER_IP = ARP + 14,
    ARP_TARGET_IP = ARP + 24,
    IPV4 = 14,
    PAYLOAD = IPV4 + 20,
    TCP_OFFSET = PAYLOAD + 12,
    TCP_FLAGS = PAYLOAD + 13,
    UDP_LENGTH = PAYLOAD + 4,
    QUOTE = PAYLOAD + 8,
    QUOTED_PAYLOAD = QUOTE + 20,
};

/* Offsets in an IPv4 header. */
enum {
    IPV4_VERSION = 0,
    IPV4_TOTAL_LENGTH = 2,
    IPV4_FRAGMENT = 6,
    IPV4_PROTOCOL = 9,
    IPV4_SOURCE = 12,
    IPV4_DESTINATION = 16,
};

/* The ICMP types of RFC 792 that may pass; the codes of "destination unreachable" end at 15 (RFC 1812). */
enum {
    ICMP_ECHO_REPLY = 0,
    ICMP_UNREACHABLE = 3,
    ICMP_ECHO_REQUEST = 8,
    ICMP_UNREACHABLE_CODES = 16,
};

enum {
    PROTOCOL_ICMP = 1,
    PROTOCOL_TCP = 6,
    PROTOCOL_UDP = 17,
};

#define TCP_SYN 0x02u
#define TCP_RST 0x04u
#define TCP_ACK 0x10u
#define FRAGMENT_RESERVED 0x8000u
#define FRAGMENT_MORE_OR_OFFSET 0x3fffu
#define FRAGMENT_OFFSET 0x1fffu
#define MAC_BROADCAST 0xffffffffffffull

/* One frame under judgement. `head` holds the first min(length, VSWITCH_HEAD) bytes, and zeros behind them.
 */
struct judged {
    const struct vswitch_config *config;
    const struct vswitch_state *state;
    uint32_t in;
    uint32_t out;
    size_t length;
    struct vswitch_offload offload; /* a copy */
    uint32_t checksum;              /* offset of the checksum in the judged TCP or UDP header, or 0 */
    size_t headers;                 /* of an unpadded TCP packet: bytes up to its payload, else 0 */
    bool asks;
    uint8_t head[VSWITCH_HEAD];
};

/* The port with this MAC, or the reason why there is none to deliver to. */
static enum vswitch_reason find_destination(struct judged *judged)
{
    uint64_t mac = be48(judged->head + DESTINATION_MAC);
    if (mac == MAC_BROADCAST) {
        return VSWITCH_BROADCAST;
    }
    if (mac & MAC_GROUP) {
        return VSWITCH_MULTICAST;
    }
    for (uint32_t port = 0; port < judged->config->port_count; port++) {
        if (judged->state->macs[port] == mac) {
            judged->out = port;
            return port == judged->in ? VSWITCH_TO_ITSELF : VSWITCH_PASS;
        }
    }
    return VSWITCH_DESTINATION_MAC;
}

static bool may_open(const struct judged *judged, uint32_t from, uint32_t to, enum vswitch_protocol protocol,
                     uint16_t port)
{
    uint32_t end = judged->state->first_rule[from + 1];
    for (uint32_t i = judged->state->first_rule[from]; i < end; i++) {
        const struct vswitch_rule *rule = &judged->config->rules[i];
        if (rule->to == to && rule->protocol == protocol && rule->port == port) {
            return true;
        }
    }
    return false;
}

/*
 * ARP: from the port's own addresses, between ports that may talk. A broadcast request goes to the port that
 * has the address alone, so that no other guest learns who talks to whom; an announcement (target = sender,
 * RFC 5227) goes to all peers. Probes (sender 0.0.0.0) serve address assignment, which does not happen here.
 */
static enum vswitch_reason judge_arp(struct judged *judged, uint64_t *ports)
{
    static const uint8_t ipv4_over_ethernet[6] = {0, 1, 8, 0, 6, 4};
    const uint8_t *head = judged->head;
    const struct vswitch_config *config = judged->config;
    if (judged->length < ETHERNET_HEADER + ARP_LENGTH || judged->length > ETHERNET_PADDED) {
        return VSWITCH_ARP_FORMAT;
    }
    for (size_t i = 0; i < sizeof(ipv4_over_ethernet); i++) {
        if (head[ARP + i] != ipv4_over_ethernet[i]) {
            return VSWITCH_ARP_FORMAT;
        }
    }
    uint16_t operation = be16(head + ARP_OPERATION);
    if (operation != 1 && operation != 2) {
        return VSWITCH_ARP_FORMAT;
    }
    if (be48(head + ARP_SENDER_MAC) != judged->state->macs[judged->in]) {
        return VSWITCH_ARP_SENDER_MAC;
    }
    if (be32(head + ARP_SENDER_IP) != config->ports[judged->in].ipv4) {
        return VSWITCH_ARP_SENDER_IP;
    }
    uint64_t peers = judged->state->peers[judged->in];
    uint32_t target = be32(head + ARP_TARGET_IP);
    enum vswitch_reason reason = find_destination(judged);
    if (reason == VSWITCH_BROADCAST) {
        if (target == config->ports[judged->in].ipv4) {
            *ports = peers;
            return peers ? VSWITCH_PASS : VSWITCH_ARP_TARGET;
        }
        for (uint32_t port = 0; port < config->port_count; port++) {
            if ((peers & bit(port)) && config->ports[port].ipv4 == target) {
                *ports = bit(port);
                judged->asks = operation == 1;
                return VSWITCH_PASS;
            }
        }
        return VSWITCH_ARP_TARGET;
    }
    if (reason != VSWITCH_PASS) {
        return reason;
    }
    if (!(peers & bit(judged->out))) {
        return VSWITCH_NOT_ALLOWED;
    }
    if (target != config->ports[judged->out].ipv4) {
        return VSWITCH_ARP_TARGET;
    }
    *ports = bit(judged->out);
    judged->asks = operation == 1;
    return VSWITCH_PASS;
}

/* A rule's own direction, or an answer; the answering side cannot open a TCP connection (SYN without ACK). */
static enum vswitch_reason judge_tcp(struct judged *judged, size_t payload)
{
    const uint8_t *head = judged->head;
    if (payload < MIN_TCP_HEADER) {
        return VSWITCH_TCP_HEADER;
    }
    size_t header = (size_t)(head[TCP_OFFSET] >> 4) * 4;
    if (header < MIN_TCP_HEADER || header > payload) {
        return VSWITCH_TCP_HEADER;
    }
    judged->checksum = TCP_CHECKSUM;
    judged->headers = PAYLOAD + payload == judged->length ? PAYLOAD + header : 0;
    if (may_open(judged, judged->in, judged->out, VSWITCH_TCP, be16(head + PAYLOAD + 2))) {
        judged->asks = (head[TCP_FLAGS] & TCP_RST) == 0;
        return VSWITCH_PASS;
    }
    if (may_open(judged, judged->out, judged->in, VSWITCH_TCP, be16(head + PAYLOAD))) {
        return (head[TCP_FLAGS] & (TCP_SYN | TCP_ACK)) == TCP_SYN ? VSWITCH_TCP_OPEN : VSWITCH_PASS;
    }
    return VSWITCH_NOT_ALLOWED;
}

static bool udp_allowed(const struct judged *judged, uint32_t from, uint32_t to, const uint8_t *ports)
{
    return may_open(judged, from, to, VSWITCH_UDP, be16(ports + 2)) ||
           may_open(judged, to, from, VSWITCH_UDP, be16(ports));
}

static enum vswitch_reason judge_udp(struct judged *judged, size_t payload)
{
    if (payload < UDP_HEADER_LENGTH || be16(judged->head + UDP_LENGTH) != payload) {
        return VSWITCH_UDP_HEADER;
    }
    judged->checksum = UDP_CHECKSUM;
    judged->asks = may_open(judged, judged->in, judged->out, VSWITCH_UDP, be16(judged->head + PAYLOAD + 2));
    return udp_allowed(judged, judged->in, judged->out, judged->head + PAYLOAD) ? VSWITCH_PASS
                                                                                : VSWITCH_NOT_ALLOWED;
}

static bool echo_allowed(const struct judged *judged, uint32_t from, uint32_t to, uint8_t type)
{
    if (type == ICMP_ECHO_REQUEST) {
        return may_open(judged, from, to, VSWITCH_ICMP_ECHO, 0);
    }
    return type == ICMP_ECHO_REPLY && may_open(judged, to, from, VSWITCH_ICMP_ECHO, 0);
}

/* The quoted packet went the other way, from `out` to `in`: would it have been allowed to? */
static enum vswitch_reason judge_quote(const struct judged *judged, size_t payload)
{
    const uint8_t *quote = judged->head + QUOTE;
    const uint8_t *quoted_payload = judged->head + QUOTED_PAYLOAD;
    if (payload < ICMP_HEADER_LENGTH + MIN_ICMP_QUOTE || quote[IPV4_VERSION] != 0x45 ||
        (be16(quote + IPV4_FRAGMENT) & FRAGMENT_OFFSET) != 0 ||
        be32(quote + IPV4_SOURCE) != judged->config->ports[judged->out].ipv4 ||
        be32(quote + IPV4_DESTINATION) != judged->config->ports[judged->in].ipv4) {
        return VSWITCH_ICMP_QUOTE;
    }
    bool allowed = false;
    switch (quote[IPV4_PROTOCOL]) {
    case PROTOCOL_TCP:
        allowed = may_open(judged, judged->out, judged->in, VSWITCH_TCP, be16(quoted_payload + 2)) ||
                  may_open(judged, judged->in, judged->out, VSWITCH_TCP, be16(quoted_payload));
        break;
    case PROTOCOL_UDP:
        allowed = udp_allowed(judged, judged->out, judged->in, quoted_payload);
        break;
    case PROTOCOL_ICMP:
        allowed = echo_allowed(judged, judged->out, judged->in, quoted_payload[0]);
        break;
    default:
        break;
    }
    return allowed ? VSWITCH_PASS : VSWITCH_ICMP_QUOTE;
}

static enum vswitch_reason judge_icmp(struct judged *judged, size_t payload)
{
    if (payload < ICMP_HEADER_LENGTH) {
        return VSWITCH_ICMP_HEADER;
    }
    uint8_t type = judged->head[PAYLOAD];
    uint8_t code = judged->head[PAYLOAD + 1];
    if ((type == ICMP_ECHO_REQUEST || type == ICMP_ECHO_REPLY) && code == 0) {
        judged->asks = type == ICMP_ECHO_REQUEST;
        return echo_allowed(judged, judged->in, judged->out, type) ? VSWITCH_PASS : VSWITCH_NOT_ALLOWED;
    }
    if (type == ICMP_UNREACHABLE && code < ICMP_UNREACHABLE_CODES) {
        return judge_quote(judged, payload);
    }
    return VSWITCH_ICMP_TYPE;
}

/*
 * Bytes behind the IPv4 header, or 0 where the total length cannot be right. Bytes behind the packet may only
 * be Ethernet's padding of a short frame, so that nothing travels unseen. In a TCP packet that is still to be
 * segmented and too long for the field, 0 stands for the frame's length, as Linux writes it.
 */
static size_t payload_length(const struct judged *judged, size_t packet)
{
    size_t total = be16(judged->head + IPV4 + IPV4_TOTAL_LENGTH);
    if (total == 0 && packet > IPV4_TOTAL_MAX && judged->head[IPV4 + IPV4_PROTOCOL] == PROTOCOL_TCP &&
        judged->offload.gso_type == VSWITCH_GSO_TCPV4) {
        total = packet;
    }
    if (total <= IPV4_HEADER_LENGTH || total > packet ||
        (total < packet && judged->length > ETHERNET_PADDED)) {
        return 0;
    }
    return total - IPV4_HEADER_LENGTH;
}

static enum vswitch_reason judge_ipv4(struct judged *judged, uint64_t *ports)
{
    const uint8_t *ipv4 = judged->head + IPV4;
    enum vswitch_reason reason = find_destination(judged);
    if (reason != VSWITCH_PASS) {
        return reason;
    }
    size_t packet = judged->length - ETHERNET_HEADER;
    uint32_t header_words = ipv4[IPV4_VERSION] & 15u;
    uint16_t fragment = be16(ipv4 + IPV4_FRAGMENT);
    if (packet < IPV4_HEADER_LENGTH || ipv4[IPV4_VERSION] >> 4 != 4 || header_words < 5 ||
        (fragment & FRAGMENT_RESERVED)) {
        return VSWITCH_IPV4_HEADER;
    }
    if (header_words > 5) {
        return VSWITCH_IPV4_OPTIONS;
    }
    size_t payload = payload_length(judged, packet);
    if (payload == 0) {
        return VSWITCH_IPV4_LENGTH;
    }
    if (be32(ipv4 + IPV4_SOURCE) != judged->config->ports[judged->in].ipv4) {
        return VSWITCH_SOURCE_IP;
    }
    if (be32(ipv4 + IPV4_DESTINATION) != judged->config->ports[judged->out].ipv4) {
        return VSWITCH_DESTINATION_IP;
    }
    /* Only the first fragment has ports to judge by, and it is of no use without the others: none passes. */
    if (fragment & FRAGMENT_MORE_OR_OFFSET) {
        return VSWITCH_FRAGMENT;
    }
    switch (ipv4[IPV4_PROTOCOL]) {
    case PROTOCOL_TCP:
        reason = judge_tcp(judged, payload);
        break;
    case PROTOCOL_UDP:
        reason = judge_udp(judged, payload);
        break;
    case PROTOCOL_ICMP:
        reason = judge_icmp(judged, payload);
        break;
    default:
        return VSWITCH_IP_PROTOCOL;
    }
    *ports = bit(judged->out);
    return reason;
}

/*
 * What the receiving side will write into the frame, or cut it into, after this judgement. Last of all
 * checks: the packet is allowed, and its transport header is at PAYLOAD. ECN segmentation (0x80 in gso_type)
 * is not offered by our devices, so no driver may ask for it.
 */
static enum vswitch_reason judge_offload(struct judged *judged)
{
    struct vswitch_offload *offload = &judged->offload;
    bool checksum = (offload->flags & VSWITCH_NEEDS_CSUM) != 0;
    if (offload->flags & ~VSWITCH_NEEDS_CSUM) {
        return VSWITCH_CHECKSUM;
    }
    if (!checksum) {
        offload->csum_start = offload->csum_offset = 0;
    } else if (judged->checksum == 0 || offload->csum_start != PAYLOAD ||
               offload->csum_offset != judged->checksum) {
        return VSWITCH_CHECKSUM;
    }
    if (offload->gso_type == VSWITCH_GSO_NONE) {
        offload->hdr_len = offload->gso_size = 0;
        return VSWITCH_PASS;
    }
    /* Every segment needs a checksum of its own (5.1.6.2). */
    if (offload->gso_type != VSWITCH_GSO_TCPV4 || !checksum || judged->headers == 0 ||
        offload->hdr_len < judged->headers || offload->hdr_len > judged->length ||
        offload->gso_size < VSWITCH_MIN_GSO_SIZE ||
        judged->length - judged->headers > (size_t)offload->gso_size * VSWITCH_MAX_SEGMENTS ||
        judged->headers + offload->gso_size > judged->config->frame_max) {
        return VSWITCH_SEGMENTATION;
    }
    offload->hdr_len = (uint16_t)judged->headers; /* at most 14 + 20 + 60 */
    return VSWITCH_PASS;
}

static enum vswitch_reason judge(struct judged *judged, uint64_t *ports)
{
    if (judged->length < ETHERNET_HEADER) {
        return VSWITCH_RUNT;
    }
    if (judged->length >
        (judged->offload.gso_type == VSWITCH_GSO_NONE ? judged->config->frame_max : VSWITCH_FRAME_MAX)) {
        return VSWITCH_OVERSIZE;
    }
    if (be48(judged->head + SOURCE_MAC) != judged->state->macs[judged->in]) {
        return VSWITCH_SOURCE_MAC;
    }
    switch (be16(judged->head + ETHERTYPE)) {
    case 0x0800:
        return judge_ipv4(judged, ports);
    case 0x0806:
        return judge_arp(judged, ports);
    case 0x8100: /* 802.1Q */
    case 0x88a8: /* 802.1ad */
    case 0x9100: /* its pre-standard number */
        return VSWITCH_VLAN;
    case 0x86dd:
        return VSWITCH_IPV6;
    default:
        return VSWITCH_ETHERTYPE;
    }
}

static void copy_head(uint8_t head[VSWITCH_HEAD], const uint8_t *frame, size_t length)
{
    size_t i = 0;
    if (length >= VSWITCH_HEAD) {
        for (; i < VSWITCH_HEAD; i++) {
            head[i] = frame[i];
        }
        return;
    }
    for (; i < length; i++) {
        head[i] = frame[i];
    }
    for (; i < VSWITCH_HEAD; i++) {
        head[i] = 0;
    }
}

struct vswitch_verdict vswitch_decide(const struct vswitch_config *config, struct vswitch_state *state,
                                      uint32_t in_port, const uint8_t *frame, size_t length,
                                      struct vswitch_offload *offload)
{
    struct vswitch_verdict verdict = {0, VSWITCH_NO_PORT, false};
    if (in_port >= config->port_count || in_port >= VSWITCH_MAX_PORTS) {
        return verdict;
    }
    struct judged judged;
    judged.config = config;
    judged.state = state;
    judged.in = in_port;
    judged.out = in_port;
    judged.length = length;
    judged.offload = offload != NULL ? *offload : (struct vswitch_offload){0};
    judged.checksum = 0;
    judged.headers = 0;
    judged.asks = false;
    copy_head(judged.head, frame, length);
    /* The compiler must not read the frame again where it finds no register for a copied byte. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);

    uint64_t ports = 0;
    struct vswitch_counters *counters = &state->counters[in_port];
    counters->rx_frames += 1;
    counters->rx_bytes += length;
    verdict.reason = judge(&judged, &ports);
    if (verdict.reason == VSWITCH_PASS) {
        verdict.reason = judge_offload(&judged);
    }
    if (verdict.reason == VSWITCH_PASS) {
        verdict.ports = ports & state->up;
        if (verdict.ports == 0) {
            verdict.reason = VSWITCH_PORT_DOWN;
        }
    }
    verdict.asks = judged.asks && verdict.reason == VSWITCH_PASS;
    if (offload != NULL) {
        *offload = judged.offload;
    }
    if (verdict.reason != VSWITCH_PASS) {
        counters->drops[verdict.reason] += 1;
    }
    return verdict;
}

void vswitch_set_link(struct vswitch_state *state, uint32_t port, bool up)
{
    if (port >= VSWITCH_MAX_PORTS) {
        return;
    }
    if (up) {
        state->up |= bit(port);
    } else {
        state->up &= ~bit(port);
    }
}

const char *vswitch_reason_name(enum vswitch_reason reason)
{
    static const char *const names[VSWITCH_REASON_COUNT] = {
#define VSWITCH_REASON_NAME(name, text) text,
        VSWITCH_REASONS(VSWITCH_REASON_NAME)
#undef VSWITCH_REASON_NAME
    };
    return (uint32_t)reason < VSWITCH_REASON_COUNT ? names[reason] : "unknown";
}
