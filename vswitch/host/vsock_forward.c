/* SPDX-License-Identifier: BSD-2-Clause */

/* Packets from the guests' transmit rings to the guests' receive rings. */
#include "vsock_hub.h"

/* A packet's payload, in as many pieces as its sender has put it. */
struct payload {
    struct iovec pieces[VIRTQ_MAX_SEGS];
    int count;
    size_t skip; /* bytes in front that are not part of it */
};

/* In front of a packet that waits. */
struct waiting_head {
    uint32_t from;
    uint8_t header[VSOCK_HEADER];
};

static struct virtq *rx(struct vsock_device *device)
{
    return &device->vhost.rings[VHOST_RX].queue;
}

static struct virtq *tx(struct vsock_device *device)
{
    return &device->vhost.rings[VHOST_TX].queue;
}

/* Gives the buffer that is being filled to the guest. */
static void finish_buffer(struct vsock_device *device)
{
    uint8_t bytes[VSOCK_HEADER];
    if (!device->filling) {
        return;
    }
    struct vsock_counters *counters = &device->hub->state.counters[device->number];
    vsock_write(bytes, &device->filled);
    virtq_copy_in(&device->chain, 0, bytes, VSOCK_HEADER);
    virtq_put_used(rx(device), 0, device->chain.head, VSOCK_HEADER + device->filled.length);
    virtq_advance(rx(device));
    virtq_publish(rx(device), 1);
    device->filling = false;
    counters->tx_packets++;
    counters->tx_bytes += device->filled.length;
    device->moved += VSOCK_HEADER + device->filled.length;
    if (device->moved >= VSOCK_STALL_PROGRESS) {
        device->moved = 0;
        device->moved_at = device->hub->now;
    }
}

/* Begins a packet in the guest's next buffer; false when it has offered none, or one that cannot be used. */
static bool begin_buffer(struct vsock_device *device, const struct vsock_header *header)
{
    finish_buffer(device);
    if (!device->running) {
        return false;
    }
    enum virtq_result result = virtq_peek(rx(device), &device->chain);
    if (result == VIRTQ_EMPTY) {
        return false;
    }
    if (result == VIRTQ_BROKEN || device->chain.readable != 0 || device->chain.writable_len <= VSOCK_HEADER) {
        vsock_hub_fault(device, "its receive ring breaks the rules of virtio");
        return false;
    }
    device->filling = true;
    device->filled = *header;
    device->filled.length = 0;
    device->capacity = (uint32_t)min_u64(device->chain.writable_len - VSOCK_HEADER, VSOCK_MAX_PAYLOAD);
    return true;
}

static bool has_buffer(struct vsock_device *device)
{
    finish_buffer(device);
    return device->running && virtq_waiting(rx(device));
}

static bool same_connection(const struct vsock_header *a, const struct vsock_header *b)
{
    return a->operation == VSOCK_RW && b->operation == VSOCK_RW && a->source_cid == b->source_cid &&
           a->source_port == b->source_port && a->destination_port == b->destination_port;
}

/* Copies bytes of a payload, `at` bytes into it, behind what the buffer has. */
static void append(struct vsock_device *device, const struct payload *payload, size_t at, uint32_t length)
{
    size_t skip = payload->skip + at;
    for (int i = 0; i < payload->count && length > 0; i++) {
        size_t size = payload->pieces[i].iov_len;
        if (skip >= size) {
            skip -= size;
            continue;
        }
        uint32_t part = (uint32_t)min_u64(size - skip, length);
        const uint8_t *from = (const uint8_t *)payload->pieces[i].iov_base + skip;
        virtq_copy_in(&device->chain, VSOCK_HEADER + device->filled.length, from, part);
        device->filled.length += part;
        length -= part;
        skip = 0;
    }
}

/* Delivers a packet's payload from byte `done` on, as far as there are buffers; `done` is where it got. True:
 * all of it. */
static bool deliver(struct vsock_device *device, const struct vsock_header *header,
                    const struct payload *payload, uint32_t *done)
{
    if (header->operation != VSOCK_RW) {
        if (!begin_buffer(device, header)) {
            return false;
        }
        finish_buffer(device);
        return true;
    }
    while (*done < header->length) {
        if (!device->filling || !same_connection(&device->filled, header)) {
            if (!begin_buffer(device, header)) {
                return false;
            }
        }
        uint32_t room = device->capacity - device->filled.length;
        uint32_t length = (uint32_t)min_u64(header->length - *done, room);
        append(device, payload, *done, length);
        *done += length;
        device->filled.buf_alloc = header->buf_alloc;
        device->filled.fwd_cnt = header->fwd_cnt;
        if (length == room) {
            finish_buffer(device);
        }
    }
    return true;
}

/* Keeps what is left of a packet until there are buffers; false when its sender's share is used up. */
static bool keep(struct vsock_device *device, uint32_t from, const struct vsock_header *header,
                 const struct payload *payload, uint32_t done)
{
    struct waiting_head head = {.from = from};
    struct vsock_header rest = *header;
    rest.length -= done;
    uint32_t size = (uint32_t)sizeof(head) + rest.length;
    uint32_t share = from == device->number ? VSOCK_ANSWERS : VSOCK_SHARE;
    if (!device->running || size > share - device->shares[from]) {
        return false;
    }
    vsock_write(head.header, &rest);
    queue_put(&device->waiting, (const uint8_t *)&head, sizeof(head));
    size_t skip = payload->skip + done;
    for (int i = 0; i < payload->count && rest.length > 0; i++) {
        size_t length = payload->pieces[i].iov_len;
        if (skip >= length) {
            skip -= length;
            continue;
        }
        size_t part = min_u64(length - skip, rest.length);
        queue_put(&device->waiting, (const uint8_t *)payload->pieces[i].iov_base + skip, part);
        rest.length -= (uint32_t)part;
        skip = 0;
    }
    device->shares[from] += size;
    if (queue_used(&device->waiting) > device->waiting_peak) {
        device->waiting_peak = queue_used(&device->waiting);
    }
    return true;
}

/* Reads the header of the first packet that waits. */
static void read_first(struct vsock_device *device)
{
    struct waiting_head head;
    queue_read(&device->waiting, (uint8_t *)&head, sizeof(head));
    device->first_from = head.from;
    device->shares[head.from] -= (uint32_t)sizeof(head);
    vsock_read(&device->first, head.header);
    device->draining = true;
}

/* Captures a RST that the switch has made for a port. */
static void capture_reset(struct vsock_hub *hub, uint32_t port, const struct vsock_header *reset)
{
    if (hub->capture->file) {
        capture_packet(hub->capture, port, reset, NULL, 0, "made by the switch");
    }
}

/* Captures a packet as its guest has made it. */
static void capture_judged(const struct vsock_device *device, const struct vsock_header *header,
                           const struct virtq_chain *chain)
{
    struct capture *capture = device->hub->capture;
    struct iovec pieces[VIRTQ_MAX_SEGS];
    char comment[64] = "";
    uint32_t skip = VSOCK_HEADER;
    int count = 0;
    if (!capture->file) {
        return;
    }
    for (uint32_t i = 0; i < chain->readable; i++) {
        uint32_t skipped = (uint32_t)min_u64(chain->seg[i].len, skip);
        pieces[count++] = (struct iovec){chain->seg[i].data + skipped, chain->seg[i].len - skipped};
        skip -= skipped;
    }
    if (device->verdict.reason != VSOCK_REASON_PASS) {
        snprintf(comment, sizeof(comment), "dropped: %s", vsock_reason_name(device->verdict.reason));
    }
    capture_packet(capture, device->number, header, pieces, chain->readable_len - VSOCK_HEADER, comment);
}

/* Delivers what has waited, and then the RSTs that the port is owed. */
static void drain(struct vsock_device *device)
{
    struct vsock_hub *hub = device->hub;
    while (device->running && (device->draining || queue_used(&device->waiting) > 0)) {
        struct payload payload = {.skip = 0};
        uint32_t done = 0;
        if (!device->draining) {
            read_first(device);
        }
        payload.count = queue_vectors(&device->waiting, payload.pieces);
        bool all = deliver(device, &device->first, &payload, &done);
        if (!device->running) {
            return; /* it was cut off, and what waited is gone */
        }
        queue_take(&device->waiting, done);
        device->shares[device->first_from] -= done;
        device->first.length -= done;
        if (!all) {
            return;
        }
        device->draining = false;
    }
    struct vsock_header reset;
    while (hub->state.owed[device->number] > 0 && has_buffer(device) &&
           vsock_next_reset(hub->config, &hub->state, device->number, &reset)) {
        const struct payload none = {.count = 0};
        uint32_t done = 0;
        capture_reset(hub, device->number, &reset);
        if (!deliver(device, &reset, &none, &done)) {
            return;
        }
    }
}

/* Delivers a packet or keeps it; false: it stays in its sender's ring. */
static bool pass(struct vsock_device *to, uint32_t from, const struct vsock_header *header,
                 const struct payload *payload, uint32_t *done)
{
    bool first = !to->draining && queue_used(&to->waiting) == 0;
    if (first && deliver(to, header, payload, done)) {
        return true;
    }
    /* A receiver that was just cut off has lost the connection, and the sender is owed a RST for it. */
    return !to->running || keep(to, from, header, payload, *done);
}

/* Does with the judged packet at the head of the ring what the verdict says. */
static bool act(struct vsock_device *device, const struct payload *payload)
{
    struct vsock_hub *hub = device->hub;
    struct vsock_header answer;
    switch (device->verdict.action) {
    case VSOCK_FORWARD:
        return pass(&hub->devices[device->verdict.to], device->number, &device->head, payload, &device->done);
    case VSOCK_ANSWER:
        answer = vsock_answer(&device->head);
        return pass(device, device->number, &answer, payload, &device->done);
    case VSOCK_DROP:
        break;
    }
    return true;
}

/* Looks at the packet at the head of the transmit ring. False: there is none, or the device was cut off. */
static bool look(struct vsock_device *device, struct payload *payload, uint32_t *head)
{
    struct virtq_chain chain;
    enum virtq_result result = virtq_peek(tx(device), &chain);
    if (result == VIRTQ_EMPTY) {
        return false;
    }
    if (result == VIRTQ_BROKEN || chain.readable_len < VSOCK_HEADER) {
        vsock_hub_fault(device, "its transmit ring breaks the rules of virtio");
        return false;
    }
    if (!device->judged) {
        struct vsock_hub *hub = device->hub;
        uint8_t bytes[VSOCK_HEADER];
        virtq_copy_out(&chain, 0, bytes, VSOCK_HEADER);
        vsock_read(&device->head, bytes);
        const struct vsock_header sent = device->head; /* judging changes it */
        device->verdict = vsock_judge(hub->config, &hub->state, device->number, &device->head,
                                      chain.readable_len - VSOCK_HEADER);
        device->judged = true;
        device->done = 0;
        capture_judged(device, &sent, &chain);
        if (device->verdict.action == VSOCK_ANSWER) {
            const struct vsock_header answer = vsock_answer(&device->head);
            capture_reset(hub, device->number, &answer);
        }
    } else if (device->verdict.action == VSOCK_FORWARD &&
               chain.readable_len - VSOCK_HEADER < device->head.length) {
        vsock_hub_fault(device, "it has changed a packet that waits");
        return false;
    }
    *head = chain.head;
    payload->count = chain.readable;
    payload->skip = VSOCK_HEADER;
    for (int i = 0; i < payload->count; i++) {
        payload->pieces[i] = (struct iovec){chain.seg[i].data, chain.seg[i].len};
    }
    return true;
}

/* One turn of a guest's transmit ring. True: it used it up, and there may be more. */
static bool transmit(struct vsock_device *device)
{
    uint32_t bytes = 0;
    device->blocked = false;
    virtq_mute(tx(device));
    for (uint32_t packets = 0; packets < VSOCK_TURN_PACKETS && bytes < VSOCK_TURN_BYTES;) {
        struct payload payload UNINITIALIZED;
        uint32_t head;
        if (!look(device, &payload, &head)) {
            if (!device->running || !virtq_listen(tx(device))) {
                return false;
            }
            packets++; /* which bounds this for a guest that races with it */
            continue;
        }
        if (!act(device, &payload)) {
            device->blocked = true;
            return false;
        }
        if (!device->running) {
            return false;
        }
        bytes += VSOCK_HEADER + device->head.length;
        packets++;
        device->judged = false;
        virtq_put_used(tx(device), 0, (uint16_t)head, 0);
        virtq_advance(tx(device));
        virtq_publish(tx(device), 1);
    }
    return true;
}

/* Whether something waits for a port's receive buffers. */
static bool is_behind(const struct vsock_hub *hub, const struct vsock_device *device)
{
    if (device->draining || queue_used(&device->waiting) > 0 || hub->state.owed[device->number] > 0) {
        return true;
    }
    for (uint32_t from = 0; from < hub->config->port_count; from++) {
        const struct vsock_device *sender = &hub->devices[from];
        if (sender->blocked && sender->verdict.action == VSOCK_FORWARD &&
            sender->verdict.to == device->number) {
            return true;
        }
    }
    return false;
}

/* Ends a port's part of a turn: shows the guest what it got, and asks for buffers if it has too few. */
static void settle(struct vsock_hub *hub, struct vsock_device *device)
{
    finish_buffer(device);
    if (hub->state.links[device->number] == VSOCK_STALLED) {
        hub->more |= virtq_listen(rx(device));
    } else if (!is_behind(hub, device)) {
        device->moved = 0;
        device->moved_at = hub->now;
    } else if (virtq_listen(rx(device))) {
        hub->more = true;
    } else if (hub->stall_ms > 0 && hub->now - device->moved_at >= hub->stall_ms) {
        vsock_hub_set_link(device, VSOCK_STALLED);
        hub->more = true;
    }
    vhost_signal(&device->vhost.rings[VHOST_RX]);
    vhost_signal(&device->vhost.rings[VHOST_TX]);
}

void vsock_hub_pump(struct vsock_hub *hub)
{
    uint32_t count = hub->config->port_count;
    hub->more = false;
    hub->turn++;
    for (uint32_t i = 0; i < count; i++) {
        struct vsock_device *device = &hub->devices[(hub->turn + i) % count];
        if (device->running) {
            if (hub->state.links[device->number] == VSOCK_STALLED && virtq_waiting(rx(device))) {
                vsock_hub_set_link(device, VSOCK_UP);
            }
            drain(device);
        }
        if (device->running && transmit(device)) {
            hub->more = true;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (hub->devices[i].running) {
            settle(hub, &hub->devices[i]);
        }
    }
}

int vsock_hub_timeout(const struct vsock_hub *hub)
{
    int64_t wait = hub->more ? 0 : -1;
    for (uint32_t number = 0; number < hub->config->port_count && hub->stall_ms > 0 && wait != 0; number++) {
        const struct vsock_device *device = &hub->devices[number];
        if (device->running && hub->state.links[number] == VSOCK_UP && is_behind(hub, device)) {
            int64_t due = device->moved_at + hub->stall_ms - hub->now;
            if (wait < 0 || due < wait) {
                wait = due < 1 ? 1 : due;
            }
        }
    }
    return (int)wait;
}
