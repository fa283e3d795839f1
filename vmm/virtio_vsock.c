/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio_vsock.h"

#define WAIT_PART 10u /* of the time, in the long run */
#define POLL_RUNS 128u
#define MAX_POLL_MS 20u
#define PAID_PART 20u /* of a millisecond, for each entry */

enum { TRANSPORT_RESET = 0 };

enum outcome { SENT, DROPPED, NO_ROOM };

static enum outcome transmit(struct virtio_vsock *vsock, const struct virtq_chain *chain)
{
    if (chain->writable != 0 || chain->readable_len < VSOCK_HEADER) {
        vsock->counters.tx_malformed++;
        return DROPPED;
    }
    /* Of a packet that is too long only the header goes on, so that the switch resets its connection. */
    uint32_t length = chain->readable_len <= NETQ_PACKET_MAX ? chain->readable_len : VSOCK_HEADER;
    struct netq_frame entry = {.length = length};
    if (netq_room(&vsock->tx) == 0 || !netq_pool_take(&vsock->pool, length, &entry.offset, &entry.ticket)) {
        return NO_ROOM;
    }
    virtq_copy_out(chain, 0, vsock->pool_bytes + entry.offset, length);
    netq_put(&vsock->tx, &entry);
    vsock->counters.tx_packets++;
    vsock->counters.tx_bytes += length - VSOCK_HEADER;
    return SENT;
}

/* Frees the pool bytes of packets that their receivers have copied. */
static void reclaim(struct virtio_vsock *vsock)
{
    struct netq_frame entry;
    while (netq_look(&vsock->tx_done, &entry)) {
        if (!netq_pool_give(&vsock->pool, entry.ticket)) {
            vsock->counters.peer_errors++;
        }
        netq_take(&vsock->tx_done);
    }
    netq_release(&vsock->tx_done);
}

/* Raises the transmit interrupt, if the driver wants it. */
static void signal_sent(struct virtio_vsock *vsock)
{
    vsock->tx_unsignalled = 0;
    virtio_settle(&vsock->dev, VIRTIO_VSOCK_TX);
}

static void run_tx(struct virtio_vsock *vsock)
{
    struct virtq *q = &vsock->dev.queue[VIRTIO_VSOCK_TX];
    struct virtq_chain chain UNINITIALIZED; /* 1 KiB that virtq_peek() fills */
    virtq_mute(q);
    for (;;) {
        uint16_t sent = 0;
        bool full = false;
        while (!full && virtq_peek(q, &chain) == VIRTQ_CHAIN) {
            full = transmit(vsock, &chain) == NO_ROOM;
            if (!full) {
                virtq_put_used(q, sent, chain.head, 0);
                virtq_advance(q);
                vsock->tx_unsignalled += (uint32_t)chain.readable;
                vsock->tx_seen = true;
                sent++;
            }
        }
        if (sent != 0) {
            virtq_publish(q, sent);
        }
        if (full) {
            /* The switch notifies us of either. */
            if (netq_room(&vsock->tx) == 0 ? netq_await_room(&vsock->tx) : netq_sleep(&vsock->tx_done)) {
                reclaim(vsock);
                continue;
            }
            vsock->starved = true;
            break;
        }
        if (q->broken || vsock->polling || vsock->tx_seen || !virtq_listen(q)) {
            break;
        }
    }
    if (q->broken || vsock->starved || vsock->tx_unsignalled >= q->size / 4) {
        signal_sent(vsock);
    }
}

/* Puts a message about the device between the packets; false when there is no room yet. */
static bool say(struct virtio_vsock *vsock, enum netq_link link)
{
    const struct netq_frame entry = {.vsock = {.operation = (uint8_t)link}};
    if (netq_room(&vsock->tx) == 0 && !netq_await_room(&vsock->tx)) {
        vsock->starved = true;
        return false;
    }
    netq_put(&vsock->tx, &entry);
    vsock->up = link == NETQ_LINK_UP;
    return true;
}

/* Tells a guest that gives buffers again that its connections are gone; false while it takes no event. */
static bool tell_reset(struct virtio_vsock *vsock)
{
    static const uint8_t event[4] = {TRANSPORT_RESET};
    struct virtq *q = &vsock->dev.queue[VIRTIO_VSOCK_EVENT];
    struct virtq_chain chain UNINITIALIZED; /* 1 KiB that virtq_peek() fills */
    if (!virtio_live(&vsock->dev, VIRTIO_VSOCK_EVENT)) {
        return false;
    }
    bool there = virtq_peek(q, &chain) == VIRTQ_CHAIN;
    if (there && (chain.readable != 0 || chain.writable_len < sizeof(event))) {
        q->broken = true;
    } else if (there) {
        virtq_copy_in(&chain, 0, event, sizeof(event));
        virtq_put_used(q, 0, chain.head, sizeof(event));
        virtq_advance(q);
        virtq_publish(q, 1);
        vsock->event_due = false;
    } else {
        virtq_listen(q);
    }
    virtio_settle(&vsock->dev, VIRTIO_VSOCK_EVENT);
    return !vsock->event_due;
}

static bool is_live(const struct virtio_vsock *vsock)
{
    return virtio_live(&vsock->dev, VIRTIO_VSOCK_RX) && virtio_live(&vsock->dev, VIRTIO_VSOCK_TX);
}

/* Tells the switch that what was connected is gone, if it does not know yet; false while it cannot. */
static bool follow_loss(struct virtio_vsock *vsock)
{
    vsock->lost = vsock->up && (vsock->lost || !is_live(vsock));
    vsock->lost = vsock->lost && !say(vsock, NETQ_LINK_DOWN);
    return !vsock->lost;
}

/* Keeps the switch informed whether the guest has a device that works. */
static void follow_link(struct virtio_vsock *vsock)
{
    bool live = is_live(vsock);
    if (vsock->stalled && live && virtq_waiting(&vsock->dev.queue[VIRTIO_VSOCK_RX])) {
        vsock->stalled = false;
    }
    if (follow_loss(vsock) && !vsock->up && live && !vsock->stalled &&
        (!vsock->event_due || tell_reset(vsock))) {
        (void)say(vsock, NETQ_LINK_UP);
    }
}

void virtio_vsock_send(struct virtio_vsock *vsock)
{
    reclaim(vsock);
    vsock->starved = false;
    follow_link(vsock);
    if (vsock->up && !vsock->lost && virtio_live(&vsock->dev, VIRTIO_VSOCK_TX)) {
        run_tx(vsock);
    }
}

bool virtio_vsock_finish(struct virtio_vsock *vsock)
{
    virtio_vsock_receive(vsock);
    (void)follow_loss(vsock); /* a queue may have broken just now, and nothing else may ever happen */
    if (vsock->dev.interrupt != 0) {
        signal_sent(vsock); /* in the same interrupt */
    }
    bool wake = netq_show(&vsock->tx) || vsock->starved;
    wake = netq_release(&vsock->rx) || wake;
    return netq_show(&vsock->rx_done) || wake;
}

uint64_t virtio_vsock_paid(struct virtio_vsock *vsock, uint64_t ticks)
{
    uint32_t taken = vsock->rx.at - vsock->rx_counted; /* may wrap */
    vsock->rx_counted = vsock->rx.at;
    return min_u64(ticks, taken * vsock->millisecond / PAID_PART);
}

bool virtio_vsock_pending(struct virtio_vsock *vsock)
{
    return vsock->polling && vsock->up && virtio_live(&vsock->dev, VIRTIO_VSOCK_TX) &&
           virtq_waiting(&vsock->dev.queue[VIRTIO_VSOCK_TX]);
}

void virtio_vsock_took(struct virtio_vsock *vsock, uint64_t ticks)
{
    /* A run may have been preempted for long, so each sample is capped. */
    vsock->cost = (7 * vsock->cost + min_u64(ticks, vsock->millisecond)) / 8;
}

uint64_t virtio_vsock_deadline(struct virtio_vsock *vsock, uint64_t now)
{
    struct netq_frame entry;
    bool waits =
        !vsock->stalled && virtio_live(&vsock->dev, VIRTIO_VSOCK_RX) && netq_look(&vsock->rx, &entry);
    if (vsock->waiting_since != VIRTIO_VSOCK_NEVER) {
        account_charge(&vsock->wait_account, vsock->waiting_since, now);
    }
    vsock->waiting_since = waits ? now : VIRTIO_VSOCK_NEVER;
    vsock->rx_due = waits ? now + account_left(&vsock->wait_account, now) : VIRTIO_VSOCK_NEVER;
    if (vsock->tx_seen) {
        vsock->tx_seen = false;
        vsock->polling = true;
        vsock->poll_until = now + min_u64(POLL_RUNS * vsock->cost, MAX_POLL_MS * vsock->millisecond);
    }
    return min_u64(vsock->rx_due, vsock->polling ? vsock->poll_until : VIRTIO_VSOCK_NEVER);
}

void virtio_vsock_due(struct virtio_vsock *vsock, uint64_t now)
{
    if (vsock->rx_due <= now) {
        vsock->stalled = vsock->lost = vsock->event_due = true;
        vsock->counters.resets++;
    }
    if (vsock->polling && vsock->poll_until <= now) {
        vsock->polling = false;
        signal_sent(vsock);
    }
}

static void on_notify(struct virtio_device *dev, uint32_t queue)
{
    (void)dev;
    (void)queue; /* the caller runs the device after each access */
}

static void on_reset(struct virtio_device *dev)
{
    struct virtio_vsock *vsock = dev->owner;
    vsock->lost = true;
    vsock->stalled = vsock->event_due = false;
    vsock->filling = false;
    vsock->done = 0;
    vsock->tx_unsignalled = 0;
    vsock->tx_seen = vsock->polling = false;
}

static const struct virtio_ops ops = {.notify = on_notify, .reset = on_reset};

void virtio_vsock_init(struct virtio_vsock *vsock, const struct guest_ram *ram, uint32_t cid,
                       struct netq_port *port, uint8_t *pool, uint32_t pool_size, uint64_t frequency)
{
    memset(vsock, 0, sizeof(*vsock));
    vsock->guest_cid = cid;
    vsock->waiting_since = vsock->rx_due = VIRTIO_VSOCK_NEVER;
    vsock->millisecond = frequency / 1000;
    account_init(&vsock->wait_account, frequency, WAIT_PART);
    netq_attach(&vsock->tx, &port->tx);
    netq_attach(&vsock->tx_done, &port->tx_done);
    netq_attach(&vsock->rx, &port->rx);
    netq_attach(&vsock->rx_done, &port->rx_done);
    netq_pool_init(&vsock->pool, pool_size);
    vsock->pool_bytes = pool;
    virtio_init(&vsock->dev, &ops, vsock, ram, VIRTIO_ID_VSOCK, VIRTIO_VSOCK_QUEUES, 0, &vsock->guest_cid,
                sizeof(vsock->guest_cid));
}
