/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio_vsock.h"

#define CREDITED_BYTES 2048u

static struct virtq *rx_queue(struct virtio_vsock *vsock)
{
    return &vsock->dev.queue[VIRTIO_VSOCK_RX];
}

/* Gives the buffer that is being filled to the guest. */
static void finish_buffer(struct virtio_vsock *vsock)
{
    uint8_t bytes[VSOCK_HEADER];
    if (!vsock->filling) {
        return;
    }
    uint32_t length = vsock->filled.length;
    vsock_write(bytes, &vsock->filled);
    virtq_copy_in(&vsock->chain, 0, bytes, VSOCK_HEADER);
    virtq_put_used(rx_queue(vsock), 0, vsock->chain.head, VSOCK_HEADER + length);
    virtq_advance(rx_queue(vsock));
    virtq_publish(rx_queue(vsock), 1);
    vsock->filling = false;
    vsock->counters.rx_packets++;
    vsock->counters.rx_bytes += length;
}

/* Begins a packet in the guest's next buffer; false when it has offered none, or one that cannot be used. */
static bool begin_buffer(struct virtio_vsock *vsock, const struct vsock_header *header)
{
    finish_buffer(vsock);
    if (virtq_peek(rx_queue(vsock), &vsock->chain) != VIRTQ_CHAIN) {
        return false;
    }
    if (vsock->chain.readable != 0 || vsock->chain.writable_len <= VSOCK_HEADER) {
        rx_queue(vsock)->broken = true;
        return false;
    }
    vsock->filling = true;
    vsock->filled = *header;
    vsock->filled.length = 0;
    vsock->capacity = (uint32_t)min_u64(vsock->chain.writable_len - VSOCK_HEADER, VSOCK_MAX_PAYLOAD);
    return true;
}

static bool same_connection(const struct vsock_header *a, const struct vsock_header *b)
{
    return a->operation == VSOCK_RW && b->operation == VSOCK_RW && a->source_cid == b->source_cid &&
           a->source_port == b->source_port && a->destination_port == b->destination_port;
}

/* Delivers a packet from byte `done` of its payload on, as far as there are buffers. True: all of it. */
static bool deliver(struct virtio_vsock *vsock, const struct vsock_header *header, const uint8_t *payload)
{
    if (header->length == 0) {
        return begin_buffer(vsock, header);
    }
    while (vsock->done < header->length) {
        if ((!vsock->filling || !same_connection(&vsock->filled, header)) && !begin_buffer(vsock, header)) {
            return false;
        }
        uint32_t room = vsock->capacity - vsock->filled.length;
        uint32_t part = (uint32_t)min_u64(header->length - vsock->done, room);
        virtq_copy_in(&vsock->chain, VSOCK_HEADER + vsock->filled.length, payload + vsock->done, part);
        vsock->done += part;
        vsock->filled.length += part;
        vsock->filled.buf_alloc = header->buf_alloc;
        vsock->filled.fwd_cnt = header->fwd_cnt;
        if (part == room) {
            finish_buffer(vsock);
        }
    }
    return true;
}

/* Who has sent a packet, and its payload (NULL: none). False if this port may not receive it. */
static bool locate(const struct virtio_vsock *vsock, const struct netq_frame *entry, uint64_t *cid,
                   const uint8_t **payload)
{
    *payload = NULL;
    if (entry->owner == NETQ_SWITCH) {
        *cid = entry->offset;
        return entry->length == 0;
    }
    if (entry->owner >= VIRTIO_VSOCK_MAX_PORTS || vsock->source[entry->owner].pool == NULL) {
        return false;
    }
    const struct virtio_vsock_source *source = &vsock->source[entry->owner];
    *cid = source->cid;
    *payload = source->pool + min_u64(entry->offset, source->size);
    return entry->length <= VSOCK_MAX_PAYLOAD && entry->offset <= source->size &&
           entry->length <= source->size - entry->offset;
}

/* Handles the packet at the front of rx; false when it has to wait for buffers. */
static bool receive(struct virtio_vsock *vsock, const struct netq_frame *entry)
{
    const uint8_t *payload;
    struct vsock_header header = {.destination_cid = vsock->guest_cid,
                                  .source_port = entry->vsock.source_port,
                                  .destination_port = entry->vsock.destination_port,
                                  .length = entry->length,
                                  .type = entry->vsock.type,
                                  .operation = entry->vsock.operation,
                                  .flags = entry->vsock.flags,
                                  .buf_alloc = entry->vsock.buf_alloc,
                                  .fwd_cnt = entry->vsock.fwd_cnt};
    if (!locate(vsock, entry, &header.source_cid, &payload)) {
        vsock->counters.peer_errors++;
        return true;
    }
    /* A packet of a connection that this guest has lost; the switch resets it. */
    if (vsock->stalled || vsock->lost || !virtio_live(&vsock->dev, VIRTIO_VSOCK_RX)) {
        vsock->counters.rx_dropped++;
        return true;
    }
    if (!deliver(vsock, &header, payload)) {
        return rx_queue(vsock)->broken;
    }
    /* For whole packets, not for buffers: those may have room for one byte each. */
    account_credit(&vsock->wait_account, vsock->millisecond * (1 + entry->length / CREDITED_BYTES));
    return true;
}

void virtio_vsock_receive(struct virtio_vsock *vsock)
{
    struct netq_frame entry;
    bool again = true, listening = false;
    virtq_mute(rx_queue(vsock));
    while (again) {
        again = false;
        if (!netq_look(&vsock->rx, &entry)) {
            again = netq_sleep(&vsock->rx);
        } else if (netq_room(&vsock->rx_done) == 0) {
            vsock->counters.peer_errors++; /* the switch never has more packets out than fit */
        } else if (receive(vsock, &entry)) {
            netq_put(&vsock->rx_done, &entry);
            netq_take(&vsock->rx);
            vsock->done = 0; /* also of a packet that was dropped half-way */
            again = true;
        } else if (!listening) {
            /* Enable the doorbell, then look again: the guest may have given buffers meanwhile. */
            virtq_listen(rx_queue(vsock));
            listening = again = true;
        }
    }
    finish_buffer(vsock);
    if (vsock->stalled) {
        virtq_listen(rx_queue(vsock)); /* it is back when it gives buffers */
    }
    virtio_settle(&vsock->dev, VIRTIO_VSOCK_RX);
}
