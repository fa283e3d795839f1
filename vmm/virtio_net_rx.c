/* SPDX-License-Identifier: BSD-2-Clause */
#include "segment.h"
#include "virtio_net_parts.h"

#define CREDITED_BYTES 2048u

/* The frame's bytes, or NULL if they lie where this port may not read. */
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
    /* GUEST_TSO4 without GUEST_CSUM, which it depends on (5.1.3.1), is not segmentation that a driver takes.
     */
    return frame->gso_type == GSO_NONE || (has(net, F_GUEST_TSO4) && has(net, F_GUEST_CSUM));
}

/* The switch passes only metadata that the packet allows. This check keeps the checksum's place safe even if
 * the switch is wrong. */
static bool offload_possible(const struct netq_frame *frame)
{
    bool csum = (frame->flags & HDR_NEEDS_CSUM) != 0;
    bool place = frame->csum_start == CSUM_START &&
                 (frame->csum_offset == CSUM_OFFSET_TCP || frame->csum_offset == CSUM_OFFSET_UDP) &&
                 frame->length >= CSUM_START + frame->csum_offset + 2u;
    bool segments = csum && frame->csum_offset == CSUM_OFFSET_TCP;
    return (frame->flags & ~HDR_NEEDS_CSUM) == 0 && (!csum || place) &&
           (frame->gso_type == GSO_NONE || (frame->gso_type == GSO_TCPV4 && segments));
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
    sum = inet_sum(sum, of->body + skip, of->body_length - skip);
    /* 0 in UDP means that there is no checksum, and 0xffff is the same number (RFC 768). */
    return sum == 0xffff ? 0xffff : ~sum;
}

/* Writes what of the checksum lies in the `n` bytes of the frame from `done` on, which are `skip` bytes into
 * a chain. Mergeable buffers may be as short as a header (5.1.6.3.1), so that its place is in a later one. */
static void copy_checksum(const struct virtq_chain *chain, uint32_t skip, uint32_t done, uint32_t n,
                          uint32_t place, const uint8_t sum[2])
{
    for (uint32_t i = 0; i < 2; i++) {
        if (place + i >= done && place + i - done < n) {
            virtq_copy_in(chain, skip + place + i - done, &sum[i], 1);
        }
    }
}

/* Writes a frame into the guest's buffers: as many as it takes with mergeable buffers, else one. Returns how
 * many chains were used, 0 when the guest has not given enough. Nothing is shown to the guest yet. */
static uint16_t deliver(struct virtio_net *net, struct header h, const struct content *content)
{
    struct virtq *q = &net->dev.queue[VIRTIO_NET_RX];
    bool merge = has(net, F_MRG_RXBUF);
    struct virtq_chain first = {0}, chain UNINITIALIZED; /* 1 KiB that virtq_peek_at() fills */
    uint32_t length = content->head_length + content->body_length, done = 0;
    uint16_t used = 0;
    bool completes = (h.flags & HDR_NEEDS_CSUM) != 0 && !has(net, F_GUEST_CSUM);
    uint8_t sum[2] = {0};
    do {
        /* cppcheck-suppress uninitvar; virtq_peek_at() fills it */
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
        if (completes && used == 0) {
            uint32_t finished = checksum(content, h.csum_start);
            sum[0] = (uint8_t)(finished >> 8);
            sum[1] = (uint8_t)finished;
        }
        if (completes) {
            copy_checksum(now, skip, done, n, (uint32_t)h.csum_start + h.csum_offset, sum);
        }
        virtq_put_used(q, used, now->head, skip + n);
        done += n;
        used++;
    } while (done < length);
    if (completes) {
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
    account_credit(&net->wait_account, net->millisecond * (1 + length / CREDITED_BYTES));
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
    net->counters.rx_segmented++;
    return true;
}

/* Handles the frame at the front of rx; false when it has to wait for buffers. */
static bool receive(struct virtio_net *net, const struct netq_frame *frame)
{
    const uint8_t *data = locate(net, frame);
    if (data == NULL || !offload_possible(frame)) {
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

void virtio_net_receive(struct virtio_net *net)
{
    struct netq_frame frame;
    bool again = true, listening = false;
    virtq_mute(&net->dev.queue[VIRTIO_NET_RX]);
    while (again) {
        again = false;
        if (!netq_look(&net->rx, &frame)) {
            again = netq_sleep(&net->rx);
        } else if (netq_room(&net->rx_done) == 0) {
            net->counters
                .peer_errors++; /* the switch never has more frames out than fit: a protocol violation */
        } else if (receive(net, &frame)) {
            netq_put(&net->rx_done, &frame);
            netq_take(&net->rx);
            net->segment = 0; /* also of a frame that was dropped half-way */
            again = true;
        } else if (!listening) {
            /* Enable the doorbell, then look again: the guest may have given buffers meanwhile. */
            virtq_listen(&net->dev.queue[VIRTIO_NET_RX]);
            listening = again = true;
        }
    }
    virtio_settle(&net->dev, VIRTIO_NET_RX);
}
