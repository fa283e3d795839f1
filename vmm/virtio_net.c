/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio_net.h"

#include "segment.h"

#define F_CSUM (1ULL << 0)
#define F_GUEST_CSUM (1ULL << 1)
#define F_MTU (1ULL << 3)
#define F_MAC (1ULL << 5)
#define F_GUEST_TSO4 (1ULL << 7)
#define F_GUEST_TSO6 (1ULL << 8)
#define F_HOST_TSO4 (1ULL << 11)
#define F_HOST_TSO6 (1ULL << 12)
#define F_MRG_RXBUF (1ULL << 15)
#define F_STATUS (1ULL << 16)

enum { HDR_NEEDS_CSUM = 1, HDR_DATA_VALID = 2 };
enum { GSO_NONE = 0, GSO_TCPV4 = 1, GSO_TCPV6 = 4 };
enum { STATUS_LINK_UP = 1 };

#define ETHERNET_HEADER 14u
#define PATIENCE_PART 10u /* of a second at once, and of all time */
#define CREDITED_BYTES 2048u

/* struct virtio_net_hdr (5.1.6), little-endian like both of its ends. */
struct header {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t num_buffers;
};
_Static_assert(sizeof(struct header) == VIRTIO_NET_HEADER, "as on the wire");

static bool has(const struct virtio_net *net, uint64_t feature)
{
    return (net->dev.features & feature) != 0;
}

/* Whether the guest's header promises only what it negotiated and what fits its frame of `length` bytes. */
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
        /* 5.1.6.2: segmentation implies a checksum to be finished. hdr_len is a hint, gso_size the payload's
         * cut. */
        return csum && has(net, F_HOST_TSO4) && h->gso_size != 0;
    case GSO_TCPV6:
        return csum && has(net, F_HOST_TSO6) && h->gso_size != 0;
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
    if (length > limit || (h.gso_type != GSO_NONE && h.gso_size > net->config.mtu)) {
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

/* Takes back the bytes of frames that everybody has copied. */
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

static void run_tx(struct virtio_net *net)
{
    struct virtq *q = &net->dev.queue[VIRTIO_NET_TX];
    struct virtq_chain chain;
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
                sent++;
            }
        }
        if (sent != 0) {
            virtq_publish(q, sent);
        }
        if (full) {
            /* The switch wakes us when it has given bytes back, which is when there is room again. */
            if (netq_sleep(&net->tx_done)) {
                reclaim(net);
                continue;
            }
            break;
        }
        if (q->broken || !virtq_listen(q)) {
            break;
        }
    }
    virtio_settle(&net->dev, VIRTIO_NET_TX);
}

/* Where a frame's bytes lie, or NULL if the switch named a place that this port may not read. */
static const uint8_t *locate(const struct virtio_net *net, const struct netq_frame *frame)
{
    if (frame->owner >= VIRTIO_NET_MAX_PORTS || frame->length < ETHERNET_HEADER ||
        frame->length > NETQ_FRAME_MAX) {
        return NULL;
    }
    const struct virtio_net_source *source = &net->source[frame->owner];
    bool inside = frame->offset <= source->size && frame->length <= source->size - frame->offset;
    return source->pool != NULL && inside ? source->pool + frame->offset : NULL;
}

static bool segments_understood(const struct virtio_net *net, const struct netq_frame *frame)
{
    return frame->gso_type == GSO_NONE || (frame->gso_type == GSO_TCPV4 && has(net, F_GUEST_TSO4)) ||
           (frame->gso_type == GSO_TCPV6 && has(net, F_GUEST_TSO6));
}

/* A frame in two pieces: headers of our own, or nothing, and bytes in a pool. */
struct content {
    const uint8_t *head;
    uint32_t head_length;
    const uint8_t *body;
    uint32_t body_length;
};

static uint32_t copy_in(const struct virtq_chain *chain, uint32_t skip, const struct content *from,
                        uint32_t done)
{
    uint32_t n = 0;
    if (done < from->head_length) {
        n = virtq_copy_in(chain, skip, from->head + done, from->head_length - done);
        if (done + n < from->head_length) {
            return n;
        }
    }
    uint32_t at = done + n - from->head_length;
    return n + virtq_copy_in(chain, skip + n, from->body + at, from->body_length - at);
}

/* The finished checksum over everything from byte `start` on, which is even in a frame with a head. */
static uint32_t checksum(const struct content *of, uint32_t start)
{
    uint32_t in_head = start < of->head_length ? of->head_length - start : 0;
    uint32_t skip = start < of->head_length ? 0 : start - of->head_length;
    uint32_t sum = in_head != 0 ? inet_sum(0, of->head + start, in_head) : 0;
    return ~inet_sum(sum, of->body + skip, of->body_length - skip);
}

/* Writes a frame into the guest's buffers: as many as it takes with mergeable buffers, else one. Returns how
 * many chains were used, 0 when the guest has not given enough. Nothing is shown to the guest yet. */
static uint16_t deliver(struct virtio_net *net, struct header h, const struct content *content)
{
    struct virtq *q = &net->dev.queue[VIRTIO_NET_RX];
    bool merge = has(net, F_MRG_RXBUF);
    struct virtq_chain first = {0}, chain;
    uint32_t length = content->head_length + content->body_length, done = 0;
    uint16_t used = 0;
    do {
        struct virtq_chain *now = used == 0 ? &first : &chain;
        uint32_t skip = used == 0 ? VIRTIO_NET_HEADER : 0;
        if (used == q->size || (used != 0 && !merge) || virtq_peek_at(q, used, now) != VIRTQ_CHAIN) {
            return 0;
        }
        if (now->readable != 0 || now->writable_len <= skip) {
            q->broken = true; /* 5.1.6.3.1: a receive buffer holds the header and something more */
            return 0;
        }
        uint32_t n = copy_in(now, skip, content, done);
        virtq_put_used(q, used, now->head, skip + n);
        done += n;
        used++;
    } while (done < length);
    if ((h.flags & HDR_NEEDS_CSUM) != 0 && !has(net, F_GUEST_CSUM)) {
        uint32_t sum = checksum(content, h.csum_start);
        uint8_t bytes[2] = {(uint8_t)(sum >> 8), (uint8_t)sum};
        virtq_copy_in(&first, VIRTIO_NET_HEADER + (uint32_t)h.csum_start + h.csum_offset, bytes, 2);
        h = (struct header){0};
    }
    h.num_buffers = used;
    virtq_copy_in(&first, 0, &h, sizeof(h));
    return used;
}

/* Delivers one frame and shows it to the guest; false when it has to wait for buffers. */
static bool give(struct virtio_net *net, struct header h, const struct content *content)
{
    struct virtq *q = &net->dev.queue[VIRTIO_NET_RX];
    uint16_t used = deliver(net, h, content);
    if (used == 0) {
        net->counters.rx_dropped += net->giving_up || q->broken;
        return net->giving_up || q->broken;
    }
    net->giving_up = false;
    for (uint16_t i = 0; i < used; i++) {
        virtq_advance(q);
    }
    virtq_publish(q, used);
    uint32_t length = content->head_length + content->body_length;
    account_credit(&net->patience, net->millisecond * (1 + length / CREDITED_BYTES));
    net->counters.rx_frames++;
    net->counters.rx_bytes += length;
    return true;
}

/* Delivers a segmented frame to a guest that takes none, cut into what it takes; false when the rest has to
 * wait for buffers. */
static bool give_segments(struct virtio_net *net, const struct netq_frame *frame, const uint8_t *data)
{
    struct segment_plan plan;
    uint8_t head[SEGMENT_HEAD_MAX];
    if (!segment_plan(&plan, frame, data, ETHERNET_HEADER + net->config.mtu)) {
        net->counters.rx_refused++;
        return true;
    }
    for (; net->segment < plan.count; net->segment++) {
        uint32_t length = segment_head(&plan, net->segment, head);
        const struct content content = {head, plan.head_length,
                                        data + plan.head_length + net->segment * plan.cut, length};
        const struct header h = {
            .flags = HDR_NEEDS_CSUM, .csum_start = frame->csum_start, .csum_offset = frame->csum_offset};
        if (!give(net, h, &content)) {
            return false;
        }
    }
    net->segment = 0;
    net->counters.rx_segmented++;
    return true;
}

/* Handles the frame at the front of rx; false when it has to wait for buffers. */
static bool receive(struct virtio_net *net, const struct netq_frame *frame)
{
    const uint8_t *data = locate(net, frame);
    uint32_t sum_end = (uint32_t)frame->csum_start + frame->csum_offset + 2;
    if (data == NULL || ((frame->flags & HDR_NEEDS_CSUM) && sum_end > frame->length)) {
        net->counters.peer_errors++;
        return true;
    }
    if (!virtio_live(&net->dev, VIRTIO_NET_RX)) {
        net->counters.rx_dropped++;
        return true;
    }
    if (!segments_understood(net, frame)) {
        return give_segments(net, frame, data);
    }
    const struct content content = {NULL, 0, data, frame->length};
    struct header h = {.flags = frame->flags, .gso_type = frame->gso_type, .hdr_len = frame->hdr_len};
    h.gso_size = frame->gso_size;
    h.csum_start = frame->csum_start;
    h.csum_offset = frame->csum_offset;
    return give(net, h, &content);
}

static void run_rx(struct virtio_net *net)
{
    struct netq_frame frame;
    bool again = true, listening = false;
    virtq_mute(&net->dev.queue[VIRTIO_NET_RX]);
    while (again) {
        again = false;
        if (!netq_look(&net->rx, &frame)) {
            again = netq_sleep(&net->rx);
        } else if (netq_room(&net->rx_done) == 0) {
            net->counters.peer_errors++; /* the switch never has more out than fit: it broke the rules */
        } else if (receive(net, &frame)) {
            netq_put(&net->rx_done, &frame);
            netq_take(&net->rx);
            again = true;
        } else if (!listening) {
            /* Ask for a doorbell, then try again: the guest may have given buffers meanwhile. */
            virtq_listen(&net->dev.queue[VIRTIO_NET_RX]);
            listening = again = true;
        }
    }
    virtio_settle(&net->dev, VIRTIO_NET_RX);
}

bool virtio_net_run(struct virtio_net *net)
{
    reclaim(net);
    run_tx(net);
    run_rx(net);
    bool wake = netq_show(&net->tx);
    wake = netq_release(&net->rx) || wake;
    return netq_show(&net->rx_done) || wake;
}

static bool stuck(struct virtio_net *net)
{
    struct netq_frame frame;
    return virtio_live(&net->dev, VIRTIO_NET_RX) && netq_look(&net->rx, &frame);
}

uint64_t virtio_net_deadline(struct virtio_net *net, uint64_t now)
{
    bool waits = stuck(net);
    if (net->stuck_since != VIRTIO_NET_NEVER) {
        account_charge(&net->patience, net->stuck_since, now);
    }
    net->stuck_since = waits ? now : VIRTIO_NET_NEVER;
    return waits ? now + account_left(&net->patience, now) : VIRTIO_NET_NEVER;
}

void virtio_net_give_up(struct virtio_net *net)
{
    net->giving_up = true;
}

static void on_notify(struct virtio_device *dev, uint32_t queue)
{
    (void)dev;
    (void)queue; /* the caller runs the device after every access */
}

static void on_reset(struct virtio_device *dev)
{
    struct virtio_net *net = dev->owner;
    net->giving_up = false;
    net->segment = 0;
}

static const struct virtio_ops ops = {.notify = on_notify, .reset = on_reset};

void virtio_net_init(struct virtio_net *net, const struct guest_ram *ram, const uint8_t mac[6], uint16_t mtu,
                     struct netq_port *port, uint8_t *pool, uint32_t pool_size, uint64_t frequency)
{
    memset(net, 0, sizeof(*net));
    net->stuck_since = VIRTIO_NET_NEVER;
    net->millisecond = frequency / 1000;
    account_init(&net->patience, frequency / PATIENCE_PART, PATIENCE_PART);
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
    uint64_t features = F_CSUM | F_GUEST_CSUM | F_MTU | F_MAC | F_GUEST_TSO4 | F_GUEST_TSO6 | F_HOST_TSO4 |
                        F_HOST_TSO6 | F_MRG_RXBUF | F_STATUS;
    virtio_init(&net->dev, &ops, net, ram, VIRTIO_ID_NET, 2, features, &net->config, sizeof(net->config));
}
