/* SPDX-License-Identifier: BSD-2-Clause */

/* vsock packets between shared rings; the core in vsock.h judges each. */
#include "forward_parts.h"

_Static_assert(TALLY_DROPS + VSOCK_REASON_COUNT <= TALLY_VALUES, "a port's counters have room");

/* A refused packet may end a connection: a RST to each end. */
#define REFUSED (1 + 2 * FORWARD_RECEIVER)

static struct netq_frame entry_of(const struct vsock_header *header)
{
    return (struct netq_frame){.length = header->length,
                               .vsock = {.operation = (uint8_t)header->operation,
                                         .flags = (uint8_t)header->flags,
                                         .type = header->type,
                                         .source_port = header->source_port,
                                         .destination_port = header->destination_port,
                                         .buf_alloc = header->buf_alloc,
                                         .fwd_cnt = header->fwd_cnt}};
}

/* A RST that no guest has sent. A CID has 32 bits (virtio 1.2, 5.10.4). */
static struct netq_frame reset_of(const struct vsock_header *header)
{
    struct netq_frame entry = entry_of(header);
    entry.offset = (uint32_t)header->source_cid;
    entry.owner = NETQ_SWITCH;
    return entry;
}

/* What waits for a port that is gone goes nowhere. Nothing of that port waits: its message would be behind.
 */
static void drop_fronts(struct forward *f, uint32_t port)
{
    for (uint32_t p = 0; p < f->port_count; p++) {
        struct forward_front *front = &f->front[p];
        if (front->to == 1ULL << port) {
            forward_give_back(f, p, front->frame.ticket);
            front->to = 0;
        }
    }
}

/* A VMM says that its guest's device starts, or that it has stopped and forgotten its connections. */
static void set_link(struct forward *f, uint32_t port, uint64_t now, uint8_t link)
{
    /* Each connection that ends is a RST for its other end. */
    uint32_t ended = link == NETQ_LINK_DOWN ? f->vsock_state->open[port] : 0;
    forward_charge(f, port, now, REFUSED + FORWARD_RECEIVER * ended);
    f->dropped++;
    if (link == NETQ_LINK_UP) {
        vsock_set_link(f->vsock, f->vsock_state, port, VSOCK_UP);
    } else if (link == NETQ_LINK_DOWN) {
        vsock_set_link(f->vsock, f->vsock_state, port, VSOCK_DETACHED);
        drop_fronts(f, port);
    } else {
        f->breaches[port]++;
    }
}

/* Whether a packet makes its receiver's kernel send one: data is answered by credit. */
static bool asks(const struct vsock_header *header)
{
    return header->operation != VSOCK_RESPONSE && header->operation != VSOCK_RST &&
           header->operation != VSOCK_CREDIT_UPDATE;
}

void packets_judge(struct forward *f, uint32_t port, uint64_t now)
{
    struct forward_front *front = &f->front[port];
    const struct netq_frame taken = front->frame;
    if (taken.length == 0) {
        set_link(f, port, now, taken.vsock.operation);
        return;
    }
    if (taken.length < VSOCK_HEADER || !forward_valid(f, port, &taken, NETQ_PACKET_MAX)) {
        f->breaches[port]++;
        f->dropped++;
        forward_charge(f, port, now, 1);
        return;
    }
    uint8_t bytes[VSOCK_HEADER];
    struct vsock_header header, answer;
    memcpy(bytes, f->ports[port].pool + taken.offset, VSOCK_HEADER);
    vsock_read(&header, bytes);
    struct vsock_verdict verdict =
        vsock_judge(f->vsock, f->vsock_state, port, &header, taken.length - VSOCK_HEADER);
    switch (verdict.action) {
    case VSOCK_FORWARD:
        front->frame = entry_of(&header);
        front->frame.offset = taken.offset + VSOCK_HEADER;
        front->frame.owner = (uint16_t)port;
        front->frame.ticket = taken.ticket;
        front->to = 1ULL << verdict.to;
        forward_charge_for(f, port, now, (struct vswitch_verdict){.ports = front->to, .asks = asks(&header)},
                           1 + header.length / FORWARD_MORE_BYTES);
        return;
    case VSOCK_ANSWER:
        answer = vsock_answer(&header);
        front->frame = reset_of(&answer);
        front->to = 1ULL << port;
        break;
    case VSOCK_DROP:
        break;
    }
    f->dropped++;
    forward_charge(f, port, now, REFUSED);
    forward_give_back(f, port, taken.ticket);
}

void packets_reset(struct forward *f)
{
    for (uint32_t p = 0; p < f->port_count; p++) {
        struct vsock_header header;
        while (forward_can_take(f, p) && vsock_next_reset(f->vsock, f->vsock_state, p, &header)) {
            struct netq_frame entry = reset_of(&header);
            forward_deliver(f, p, 1ULL << p, &entry);
        }
    }
}

uint32_t packets_publish(const struct forward *f, struct tally *tally, uint32_t port)
{
    const struct vsock_counters *counters = &f->vsock_state->counters[port];
    tally_put(tally, port, TALLY_RX_FRAMES, counters->rx_packets);
    tally_put(tally, port, TALLY_RX_BYTES, counters->rx_bytes);
    tally_put(tally, port, TALLY_TX_FRAMES, counters->tx_packets);
    tally_put(tally, port, TALLY_TX_BYTES, counters->tx_bytes);
    tally_put(tally, port, TALLY_CONNECTED, f->vsock_state->links[port] == VSOCK_UP);
    tally_put(tally, port, TALLY_OPEN, f->vsock_state->open[port]);
    for (uint32_t reason = 0; reason < VSOCK_REASON_COUNT; reason++) {
        tally_put(tally, port, TALLY_DROPS + reason, counters->drops[reason]);
    }
    return TALLY_DROPS + VSOCK_REASON_COUNT;
}
