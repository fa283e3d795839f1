/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio_net_parts.h"

#define WAIT_PART 10u /* tenths: 0.1 s in a burst, 10 % of the time in the long run */
#define POLL_RUNS 128u
#define MAX_POLL_MS 20u /* ms */
#define PAID_PART 20u   /* of a millisecond, for each frame */

/* Whether the guest's header asks only for what it negotiated, and lies within its frame of `length` bytes.
 * What the packet in the frame allows is for the switch to judge. */
static bool acceptable(const struct virtio_net *net, const struct header *h, uint32_t length)
{
    bool csum = (h->flags & HDR_NEEDS_CSUM) != 0;
    if ((h->flags & ~HDR_NEEDS_CSUM) != 0 || (csum && !has(net, F_CSUM))) {
        return false;
    }
    if (csum && (h->csum_start < ETHERNET_HEADER || (uint32_t)h->csum_start + h->csum_offset + 2 > length)) {
        return false;
    }
    switch (h->gso_type) {
    case GSO_NONE:
        return true;
    case GSO_TCPV4:
        return csum && has(net, F_HOST_TSO4); /* 5.1.6.2: each segment needs a checksum */
    default:
        return false;
    }
}

enum outcome { SENT, DROPPED, NO_ROOM };

static enum outcome transmit(struct virtio_net *net, const struct virtq_chain *chain)
{
    struct header h;
    if (chain->writable != 0 || chain->readable_len < VIRTIO_NET_HEADER + ETHERNET_HEADER ||
        chain->readable_len > VIRTIO_NET_HEADER + NETQ_FRAME_MAX) {
        net->counters.tx_malformed++;
        return DROPPED;
    }
    uint32_t length = chain->readable_len - VIRTIO_NET_HEADER;
    virtq_copy_out(chain, 0, &h, sizeof(h));
    if (!acceptable(net, &h, length)) {
        net->counters.tx_malformed++;
        return DROPPED;
    }
    uint32_t limit = h.gso_type == GSO_NONE ? ETHERNET_HEADER + net->config.mtu : NETQ_FRAME_MAX;
    if (length > limit) {
        net->counters.tx_oversize++;
        return DROPPED;
    }
    struct netq_frame frame = {.length = length,
                               .flags = h.flags,
                               .gso_type = h.gso_type,
                               .hdr_len = h.hdr_len,
                               .gso_size = h.gso_size,
                               .csum_start = h.csum_start,
                               .csum_offset = h.csum_offset};
    if (netq_room(&net->tx) == 0 || !netq_pool_take(&net->pool, length, &frame.offset, &frame.ticket)) {
        return NO_ROOM;
    }
    virtq_copy_out(chain, VIRTIO_NET_HEADER, net->pool_bytes + frame.offset, length);
    netq_put(&net->tx, &frame);
    net->counters.tx_frames++;
    net->counters.tx_bytes += length;
    return SENT;
}

/* Frees the pool bytes of frames that all receivers have copied. */
static void reclaim(struct virtio_net *net)
{
    struct netq_frame frame;
    while (netq_look(&net->tx_done, &frame)) {
        if (!netq_pool_give(&net->pool, frame.ticket)) {
            net->counters.peer_errors++;
        }
        netq_take(&net->tx_done);
    }
    netq_release(&net->tx_done);
}

/* Raises the transmit interrupt, if the driver wants it. */
static void signal_sent(struct virtio_net *net)
{
    net->tx_unsignalled = 0;
    virtio_settle(&net->dev, VIRTIO_NET_TX);
}

static void run_tx(struct virtio_net *net)
{
    struct virtq *q = &net->dev.queue[VIRTIO_NET_TX];
    struct virtq_chain chain UNINITIALIZED; /* 1 KiB that virtq_peek() fills */
    if (!virtio_live(&net->dev, VIRTIO_NET_TX)) {
        return;
    }
    virtq_mute(q);
    for (;;) {
        uint16_t sent = 0;
        bool full = false;
        while (!full && virtq_peek(q, &chain) == VIRTQ_CHAIN) {
            full = transmit(net, &chain) == NO_ROOM;
            if (!full) {
                virtq_put_used(q, sent, chain.head, 0);
                virtq_advance(q);
                net->tx_unsignalled += (uint32_t)chain.readable;
                net->tx_seen = true;
                sent++;
            }
        }
        if (sent != 0) {
            virtq_publish(q, sent);
        }
        if (full) {
            /* The switch notifies us when it returns pool bytes. It collects them at once only if it knows
             * that a VMM waits. */
            if (netq_sleep(&net->tx_done)) {
                reclaim(net);
                continue;
            }
            net->starved = true;
            break;
        }
        if (q->broken || net->polling || net->tx_seen || !virtq_listen(q)) {
            break;
        }
    }
    if (q->broken || net->starved || net->tx_unsignalled >= q->size / 4) {
        signal_sent(net);
    }
}

void virtio_net_send(struct virtio_net *net)
{
    reclaim(net);
    net->starved = false;
    run_tx(net);
}

bool virtio_net_run(struct virtio_net *net)
{
    virtio_net_send(net);
    return virtio_net_finish(net);
}

bool virtio_net_finish(struct virtio_net *net)
{
    virtio_net_receive(net);
    if (net->dev.interrupt != 0) {
        signal_sent(net); /* in the same interrupt */
    }
    bool wake = netq_show(&net->tx) || net->starved;
    wake = netq_release(&net->rx) || wake;
    return netq_show(&net->rx_done) || wake;
}

uint64_t virtio_net_paid(struct virtio_net *net, uint64_t ticks)
{
    uint32_t taken = net->rx.at - net->rx_counted; /* may wrap */
    net->rx_counted = net->rx.at;
    return min_u64(ticks, taken * net->millisecond / PAID_PART);
}

static bool stuck(struct virtio_net *net)
{
    struct netq_frame frame;
    return virtio_live(&net->dev, VIRTIO_NET_RX) && netq_look(&net->rx, &frame);
}

bool virtio_net_pending(struct virtio_net *net)
{
    return net->polling && virtio_live(&net->dev, VIRTIO_NET_TX) &&
           virtq_waiting(&net->dev.queue[VIRTIO_NET_TX]);
}

void virtio_net_took(struct virtio_net *net, uint64_t ticks)
{
    /* A run may have been preempted for long, so each sample is capped. */
    net->cost = (7 * net->cost + min_u64(ticks, net->millisecond)) / 8;
}

uint64_t virtio_net_deadline(struct virtio_net *net, uint64_t now)
{
    bool waits = stuck(net);
    if (net->waiting_since != VIRTIO_NET_NEVER) {
        account_charge(&net->wait_account, net->waiting_since, now);
    }
    net->waiting_since = waits ? now : VIRTIO_NET_NEVER;
    net->rx_due = waits ? now + account_left(&net->wait_account, now) : VIRTIO_NET_NEVER;
    if (net->tx_seen) {
        net->tx_seen = false;
        net->polling = true;
        net->poll_until = now + min_u64(POLL_RUNS * net->cost, MAX_POLL_MS * net->millisecond);
    }
    return min_u64(net->rx_due, net->polling ? net->poll_until : VIRTIO_NET_NEVER);
}

void virtio_net_due(struct virtio_net *net, uint64_t now)
{
    if (net->rx_due <= now) {
        virtio_net_give_up(net);
    }
    if (net->polling && net->poll_until <= now) {
        net->polling = false;
        signal_sent(net);
    }
}

void virtio_net_give_up(struct virtio_net *net)
{
    net->giving_up = true;
}

static void on_notify(struct virtio_device *dev, uint32_t queue)
{
    (void)dev;
    (void)queue; /* the caller runs the device after each access */
}

static void on_reset(struct virtio_device *dev)
{
    struct virtio_net *net = dev->owner;
    net->giving_up = false;
    net->segment = 0;
    net->tx_unsignalled = 0;
    net->tx_seen = net->polling = false;
}

static const struct virtio_ops ops = {.notify = on_notify, .reset = on_reset};

void virtio_net_init(struct virtio_net *net, const struct guest_ram *ram, const uint8_t mac[6], uint16_t mtu,
                     struct netq_port *port, uint8_t *pool, uint32_t pool_size, uint64_t frequency)
{
    memset(net, 0, sizeof(*net));
    net->waiting_since = net->rx_due = VIRTIO_NET_NEVER;
    net->millisecond = frequency / 1000;
    account_init(&net->wait_account, frequency / WAIT_PART, WAIT_PART);
    memcpy(net->config.mac, mac, 6);
    net->config.status = STATUS_LINK_UP;
    net->config.max_pairs = 1;
    net->config.mtu = mtu;
    netq_attach(&net->tx, &port->tx);
    netq_attach(&net->tx_done, &port->tx_done);
    netq_attach(&net->rx, &port->rx);
    netq_attach(&net->rx_done, &port->rx_done);
    netq_pool_init(&net->pool, pool_size);
    net->pool_bytes = pool;
    uint64_t features =
        F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_GUEST_TSO4 | F_HOST_TSO4 | F_MRG_RXBUF | F_STATUS;
    virtio_init(&net->dev, &ops, net, ram, VIRTIO_ID_NET, 2, features, &net->config, sizeof(net->config));
}
