/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The virtual switch's decision: which ports may receive a frame that arrived on a port?
 *
 * Portable, freestanding C11: no libc, no allocation, no clock, no I/O. The Microkit protection domain and
 * the host process share this code; tests, fuzzers and the model checker call it directly.
 *
 * Everything is static and default deny. A port has one MAC and one IPv4 address, and nothing is learned. A
 * frame passes only when it is ARP between two ports that may talk, or an unfragmented IPv4 packet of a
 * conversation that a rule names, with source and destination addresses of the ports it travels between.
 *
 * Offload metadata is part of the judgement: what a receiver sees after it has completed the checksum and
 * segmented the frame is what the rules allow.
 *
 * What is not checked: checksums (an offloading sender leaves them unfinished; receivers check them), TCP
 * sequence numbers (there is no connection state), and what a conversation that is allowed carries.
 *
 * The decision reads the frame's first VSWITCH_HEAD bytes once, into a copy of its own, so that a sender that
 * rewrites a shared buffer meanwhile cannot make it inconsistent. For the decision to bind what is delivered,
 * the buffer's owner must keep the sender from writing to it between the decision and the delivery.
 */
#ifndef VSWITCH_H
#define VSWITCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One bit a port in a 64-bit set; 62 is also what Microkit has channels for (ids 0 to 61). */
#ifndef VSWITCH_MAX_PORTS /* the model checker sets fewer */
#define VSWITCH_MAX_PORTS 62u
#endif
#define VSWITCH_MAX_RULES 4096u

/* An Ethernet header and the largest packet that a sender with segmentation offload hands over (Linux: 64
 * KiB). */
#define VSWITCH_FRAME_MAX (14u + 65536u)
/* The smallest limit that a configuration may set: every IPv4 link carries packets of 68 bytes (RFC 791). */
#define VSWITCH_MIN_FRAME_MAX (14u + 68u)

/* Ethernet 14, IPv4 20, ICMP 8, and the 28 bytes that an ICMP error quotes: nothing behind them is looked at.
 */
#define VSWITCH_HEAD 70u

/* Offload metadata of a frame: struct virtio_net_hdr (virtio 1.2, 5.1.6) without num_buffers, and with its
 * values. */
enum { VSWITCH_NEEDS_CSUM = 1 };
enum { VSWITCH_GSO_NONE = 0, VSWITCH_GSO_TCPV4 = 1 };

struct vswitch_offload {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;     /* bytes, Ethernet header included; segmented frames only */
    uint16_t gso_size;    /* bytes of payload in each segment; segmented frames only */
    uint16_t csum_start;  /* where the checksum begins; with VSWITCH_NEEDS_CSUM only */
    uint16_t csum_offset; /* from csum_start to the checksum's field; with VSWITCH_NEEDS_CSUM only */
};

/* Linux sends no shorter segments: 48 bytes of TCP, of which options may take 40. */
#define VSWITCH_MIN_GSO_SIZE 8u
/* A receiver without segmentation offload takes each segment as a frame. 64 KiB in segments for the smallest
 * MSS that every host takes (RFC 9293: 536 bytes), of which options take 40. */
#define VSWITCH_MAX_SEGMENTS 133u

enum vswitch_protocol {
    VSWITCH_ICMP_ECHO,
    VSWITCH_TCP,
    VSWITCH_UDP,
};

struct vswitch_port {
    uint8_t mac[6];
    uint32_t ipv4; /* host byte order: 10.77.0.2 is 0x0a4d0002 */
    const char *name;
};

/*
 * `from` may open conversations with `to`: send echo requests, TCP to `port`, UDP to `port`. Answers are part
 * of it. `port` is in host byte order, 1 to 65535, and 0 for ICMP echo.
 */
struct vswitch_rule {
    uint8_t from;
    uint8_t to;
    uint8_t protocol;
    uint16_t port;
};

struct vswitch_config {
    const struct vswitch_port *ports;
    const struct vswitch_rule *rules; /* in ascending order of `from` */
    uint32_t port_count;
    uint32_t rule_count;
    /* Bytes of the longest frame, Ethernet header included: VSWITCH_MIN_FRAME_MAX to VSWITCH_FRAME_MAX. A
     * frame that is still to be segmented may have VSWITCH_FRAME_MAX; its segments obey this limit. */
    uint32_t frame_max;
};

/* Why a frame was dropped: the name in counters and logs, and what it means. */
#define VSWITCH_REASONS(X)                                                                                   \
    X(PASS, "pass")                         /* not dropped */                                                \
    X(NO_PORT, "no-port")                   /* the caller named a port that is not configured */             \
    X(RUNT, "runt")                         /* shorter than an Ethernet header */                            \
    X(OVERSIZE, "oversize")                 /* longer than the configuration's frame_max */                  \
    X(SOURCE_MAC, "source-mac")             /* the source MAC is not the port's */                           \
    X(VLAN, "vlan")                         /* an 802.1Q or 802.1ad tag */                                   \
    X(IPV6, "ipv6")                         /* IPv6 */                                                       \
    X(ETHERTYPE, "ethertype")               /* neither ARP nor IPv4 nor one of the above */                  \
    X(BROADCAST, "broadcast")               /* broadcast of anything but ARP */                              \
    X(MULTICAST, "multicast")               /* to a group address */                                         \
    X(DESTINATION_MAC, "destination-mac")   /* no port has the destination MAC */                            \
    X(TO_ITSELF, "to-itself")               /* the destination is the sender */                              \
    X(ARP_FORMAT, "arp-format")             /* no request or reply for IPv4, or a wrong length */            \
    X(ARP_SENDER_MAC, "arp-sender-mac")     /* the ARP sender's MAC is not the port's */                     \
    X(ARP_SENDER_IP, "arp-sender-ip")       /* the ARP sender's address is not the port's */                 \
    X(ARP_TARGET, "arp-target")             /* about an address that it may not talk to */                   \
    X(IPV4_HEADER, "ipv4-header")           /* truncated, version, IHL < 5, or reserved flag */              \
    X(IPV4_OPTIONS, "ipv4-options")         /* IPv4 options, source routes among them */                     \
    X(IPV4_LENGTH, "ipv4-length")           /* total length disagrees with the frame's */                    \
    X(FRAGMENT, "fragment")                 /* a fragment, the first one included */                         \
    X(SOURCE_IP, "source-ip")               /* the source address is not the port's */                       \
    X(DESTINATION_IP, "destination-ip")     /* the address is not the destination MAC's port's */            \
    X(IP_PROTOCOL, "ip-protocol")           /* neither TCP nor UDP nor ICMP */                               \
    X(TCP_HEADER, "tcp-header")             /* truncated, or an impossible data offset */                    \
    X(UDP_HEADER, "udp-header")             /* truncated, or its length is not the packet's */               \
    X(ICMP_HEADER, "icmp-header")           /* truncated */                                                  \
    X(ICMP_TYPE, "icmp-type")               /* neither echo nor destination unreachable */                   \
    X(ICMP_QUOTE, "icmp-quote")             /* an error that quotes no allowed conversation */               \
    X(TCP_OPEN, "tcp-open")                 /* a TCP connection opened against its rule */                   \
    X(CHECKSUM, "checksum-offload")         /* a checksum request that the packet does not allow */          \
    X(SEGMENTATION, "segmentation-offload") /* a segmentation request that the packet does not allow */      \
    X(NOT_ALLOWED, "not-allowed")           /* no rule allows it */                                          \
    X(PORT_DOWN, "port-down")               /* allowed, but the receiver is not connected */                 \
    X(STALLED, "stalled")                   /* allowed, but the receiver has stopped (caller counts) */

enum vswitch_reason {
#define VSWITCH_REASON_ENUM(name, text) VSWITCH_##name,
    VSWITCH_REASONS(VSWITCH_REASON_ENUM)
#undef VSWITCH_REASON_ENUM
        VSWITCH_REASON_COUNT
};

/* rx is what came in from the port's guest, tx what was delivered to it. drops[] counts frames that came in
 * from it. */
struct vswitch_counters {
    uint64_t rx_frames;
    uint64_t rx_bytes;
    uint64_t tx_frames;
    uint64_t tx_bytes;
    uint64_t drops[VSWITCH_REASON_COUNT];
};

/* Made by vswitch_init; callers read `counters`, and leave the rest alone. */
struct vswitch_state {
    uint64_t up;                       /* connected ports */
    uint64_t peers[VSWITCH_MAX_PORTS]; /* ports that share a rule with this one, in either direction */
    uint64_t macs[VSWITCH_MAX_PORTS];  /* 48 bits, first byte on the wire highest */
    uint16_t first_rule[VSWITCH_MAX_PORTS + 1]; /* rules from port p are [first_rule[p], first_rule[p + 1]) */
    struct vswitch_counters counters[VSWITCH_MAX_PORTS];
};

/* Deliver to every port in `ports` (bit n is port n). It is empty if and only if `reason` is not
 * VSWITCH_PASS. `asks`: the frame passes in the sender's own right, not as an answer, and its receiver may be
 * expected to answer: an ARP request, an echo request, or TCP (without RST) or UDP in a rule's direction. */
struct vswitch_verdict {
    uint64_t ports;
    enum vswitch_reason reason;
    bool asks;
};

/* Checks the configuration and prepares the state, with every port up. NULL, or what is wrong with the
 * configuration. */
const char *vswitch_init(struct vswitch_state *state, const struct vswitch_config *config);

/*
 * Judges one frame (Ethernet header first, no frame check sequence, no virtio-net header), and counts it as
 * received and, if it is dropped, by reason. Only the first min(length, VSWITCH_HEAD) bytes are read.
 *
 * offload: the frame's metadata, or NULL for a frame without. A receiver acts on it after this decision: it
 * writes a checksum into the frame, or cuts it into segments. So it passes only where that changes nothing
 * that was judged: the checksum of the packet's own TCP or UDP header, and the segmentation of TCP into
 * frames within the limit. The metadata of a frame that passes is rewritten: unused fields are 0, and hdr_len
 * is the exact length of the headers.
 */
struct vswitch_verdict vswitch_decide(const struct vswitch_config *config, struct vswitch_state *state,
                                      uint32_t in_port, const uint8_t *frame, size_t length,
                                      struct vswitch_offload *offload);

/* Frames to a port that is down are dropped as "port-down". */
void vswitch_set_link(struct vswitch_state *state, uint32_t port, bool up);

/* "source-mac" and so on; "unknown" for anything else. */
const char *vswitch_reason_name(enum vswitch_reason reason);

/* To be called once a frame has been handed to `port`. */
static inline void vswitch_count_sent(struct vswitch_state *state, uint32_t port, size_t length)
{
    state->counters[port].tx_frames += 1;
    state->counters[port].tx_bytes += length;
}

/* To be called when the caller itself drops a frame from `in_port` after a verdict that let it pass. */
static inline void vswitch_count_drop(struct vswitch_state *state, uint32_t in_port,
                                      enum vswitch_reason reason)
{
    state->counters[in_port].drops[reason] += 1;
}

#endif
