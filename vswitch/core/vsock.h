/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The virtual switch's decision about virtio-vsock packets (virtio 1.2, 5.10): may this packet pass, and to
 * which port?
 *
 * Portable, freestanding C11 like vswitch.h: no libc, no allocation, no clock, no I/O.
 *
 * Everything is default deny. A port has one context id (CID). A rule lets one port open stream connections
 * to one vsock port of another; packets pass only on such a connection, between the two CIDs that opened it,
 * and only as its state allows. Connections have a table of fixed size for each rule, so requests under one
 * rule use up no room of another one.
 *
 * Credit is end to end between the two guests: what each announces (buf_alloc, fwd_cnt) is passed on
 * unchanged. The switch holds both to it: a sender that overruns what its receiver has announced, and a
 * receiver that says it has taken what was never sent, lose the connection.
 *
 * What is refused is answered by RST, so that no sender waits for nothing; a RST never is. A connection that
 * the switch ends owes one RST to each end, which the caller fetches with vsock_next_reset.
 */
#ifndef VSOCK_H
#define VSOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef VSOCK_MAX_PORTS /* the model checker sets fewer of all three, the fuzzer fewer connections */
#define VSOCK_MAX_PORTS 62u
#endif
#ifndef VSOCK_MAX_RULES
#define VSOCK_MAX_RULES 256u
#endif
#ifndef VSOCK_MAX_CONNECTIONS
#define VSOCK_MAX_CONNECTIONS 64u /* at once under one rule */
#endif

#define VSOCK_HEADER 44u
/* Linux sends no longer payload (VIRTIO_VSOCK_MAX_PKT_BUF_SIZE). */
#define VSOCK_MAX_PAYLOAD 65536u
/* 0 to 2 are reserved: hypervisor, local, host (virtio 1.2, 5.10.4). */
#define VSOCK_MIN_CID 3u
#define VSOCK_ANY 0xffffffffu /* neither a CID nor a port: VMADDR_CID_ANY and VMADDR_PORT_ANY of Linux */

enum { VSOCK_STREAM = 1 };

enum vsock_operation {
    VSOCK_REQUEST = 1,
    VSOCK_RESPONSE = 2,
    VSOCK_RST = 3,
    VSOCK_SHUTDOWN = 4,
    VSOCK_RW = 5,
    VSOCK_CREDIT_UPDATE = 6,
    VSOCK_CREDIT_REQUEST = 7,
};

/* Flags of VSOCK_SHUTDOWN: the sender will receive, or send, no more. */
enum { VSOCK_NO_RECEIVE = 1, VSOCK_NO_SEND = 2, VSOCK_COMPLETE = 3 };

/* struct virtio_vsock_hdr, in this machine's byte order. */
struct vsock_header {
    uint64_t source_cid;
    uint64_t destination_cid;
    uint32_t source_port;
    uint32_t destination_port;
    uint32_t length; /* bytes of payload behind the header */
    uint16_t type;
    uint16_t operation;
    uint32_t flags;
    uint32_t buf_alloc; /* bytes: the sender's whole receive buffer for this connection */
    uint32_t fwd_cnt;   /* bytes that left that buffer so far */
};

struct vsock_port {
    uint32_t cid;
    const char *name;
};

/* `from` may open stream connections to `port` of `to`. */
struct vsock_rule {
    uint8_t from;
    uint8_t to;
    uint32_t port;
};

struct vsock_config {
    const struct vsock_port *ports;
    const struct vsock_rule *rules;
    uint32_t port_count;
    uint32_t rule_count;
};

/* Why a packet did not pass: the name in counters and logs, and what it means. */
#define VSOCK_REASONS(X)                                                                                     \
    X(PASS, "pass")                       /* not dropped */                                                  \
    X(NO_PORT, "no-port")                 /* the caller named a port that is not configured */               \
    X(SOURCE_CID, "source-cid")           /* the source CID is not the port's */                             \
    X(DESTINATION_CID, "destination-cid") /* no other port has the destination CID */                        \
    X(TYPE, "type")                       /* not a stream */                                                 \
    X(OPERATION, "operation")             /* an unknown operation, or unknown flags of SHUTDOWN */           \
    X(LENGTH, "length")                   /* payload where none may be, none in RW, too long, or cut */      \
    X(NOT_ALLOWED, "not-allowed")         /* a REQUEST that no rule allows */                                \
    X(CONNECTIONS, "connections")         /* a REQUEST, and the rule's table is full */                      \
    X(NO_CONNECTION, "no-connection")     /* of no connection */                                             \
    X(STATE, "state")                     /* not valid in the connection's state */                          \
    X(CREDIT, "credit")                   /* more than the receiver announced, or taken before it was sent   \
                                           */                                                                \
    X(RESET, "reset")                     /* a RST of no connection */                                       \
    X(PORT_DOWN, "port-down")             /* allowed, but the receiver is not connected */                   \
    X(STALLED, "stalled")                 /* allowed, but the receiver takes nothing */

enum vsock_reason {
#define VSOCK_REASON_ENUM(name, text) VSOCK_REASON_##name,
    VSOCK_REASONS(VSOCK_REASON_ENUM)
#undef VSOCK_REASON_ENUM
        VSOCK_REASON_COUNT
};

/* rx is what came in from the port's guest, tx what was delivered to it; bytes are payload. */
struct vsock_counters {
    uint64_t rx_packets;
    uint64_t rx_bytes;
    uint64_t tx_packets;
    uint64_t tx_bytes;
    uint64_t drops[VSOCK_REASON_COUNT];
};

/* One end of a connection. Counts do not wrap: a connection lives for less than 2^64 bytes. */
struct vsock_end {
    uint64_t sent;  /* bytes of payload that passed from this end */
    uint64_t limit; /* as far as it may send: the highest that the other end has announced */
    uint32_t shutdown;
};

enum vsock_connection_state { VSOCK_FREE, VSOCK_REQUESTED, VSOCK_OPEN, VSOCK_ENDED };

struct vsock_connection {
    uint32_t port;            /* the opener's; CIDs and the listener's port are the rule's */
    uint8_t state;            /* enum vsock_connection_state */
    uint8_t owed;             /* ENDED: bit e: a RST for ends[e] */
    struct vsock_end ends[2]; /* the opener, the listener */
};

enum vsock_link {
    VSOCK_UP,
    VSOCK_STALLED,  /* it takes no packets */
    VSOCK_PAUSED,   /* it is not running and may go on where it was: RSTs are kept for it */
    VSOCK_DETACHED, /* it is gone: nothing is owed to it */
};

/* Made by vsock_init; callers read `counters`, `links` and `owed`, and leave the rest alone. */
struct vsock_state {
    struct vsock_connection connections[VSOCK_MAX_RULES][VSOCK_MAX_CONNECTIONS];
    enum vsock_link links[VSOCK_MAX_PORTS];
    uint32_t owed[VSOCK_MAX_PORTS]; /* RSTs that vsock_next_reset has for a port */
    uint32_t open[VSOCK_MAX_PORTS]; /* connections that have not ended */
    struct vsock_counters counters[VSOCK_MAX_PORTS];
};

enum vsock_action { VSOCK_DROP, VSOCK_ANSWER, VSOCK_FORWARD };

struct vsock_verdict {
    enum vsock_action action; /* ANSWER: with vsock_answer's RST, to the port that it came from */
    enum vsock_reason reason; /* PASS: not refused, so forwarded, or dropped when it completes a shutdown */
    uint32_t to;              /* FORWARD: the receiver */
};

/* Checks the configuration and prepares the state, with every port DETACHED. NULL, or what is wrong. */
const char *vsock_init(struct vsock_state *state, const struct vsock_config *config);

/* From and to the wire: VSOCK_HEADER bytes, each field lowest byte first. */
void vsock_read(struct vsock_header *header, const uint8_t *bytes);
void vsock_write(uint8_t *bytes, const struct vsock_header *header);

/*
 * Judges one packet that came in on a port, and counts it. payload: bytes that follow the header. A header
 * that passes has no flags but SHUTDOWN's, and is what has to be delivered.
 */
struct vsock_verdict vsock_judge(const struct vsock_config *config, struct vsock_state *state, uint32_t in,
                                 struct vsock_header *header, size_t payload);

/* The RST that answers a packet. */
struct vsock_header vsock_answer(const struct vsock_header *header);

/* A port comes, goes or stops. Whatever it is that ends UP also ends all its connections. */
void vsock_set_link(const struct vsock_config *config, struct vsock_state *state, uint32_t port,
                    enum vsock_link link);

/* The next RST that a port is owed; false when there is none. */
bool vsock_next_reset(const struct vsock_config *config, struct vsock_state *state, uint32_t port,
                      struct vsock_header *header);

/* "source-cid" and so on; "unknown" for anything else. */
const char *vsock_reason_name(enum vsock_reason reason);

#endif
