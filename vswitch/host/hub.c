/* SPDX-License-Identifier: BSD-2-Clause */
#include "hub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A port's log lines: whoever has the other end may connect and break the link again and again. */
#define MAX_COMPLAINTS 20u

static uint32_t frame_length(const uint8_t *prefix)
{
    return (uint32_t)prefix[0] << 24 | (uint32_t)prefix[1] << 16 | (uint32_t)prefix[2] << 8 | prefix[3];
}

static uint32_t lowest(uint64_t ports)
{
    return (uint32_t)__builtin_ctzll(ports);
}

bool hub_open(struct hub *hub, const struct vswitch_config *config, int64_t stall_ms)
{
    hub->config = config;
    hub->stall_ms = stall_ms;
    for (uint32_t number = 0; number < config->port_count; number++) {
        struct port *port = &hub->ports[number];
        port->number = number;
        port->name = config->ports[number].name;
        port->link = -1;
        port->input = malloc(INPUT_SIZE);
        if (!port->input || !queue_open(&port->queue, QUEUE_SIZE)) {
            return false;
        }
        vswitch_set_link(&hub->state, number, false);
    }
    return true;
}

void hub_close(struct hub *hub)
{
    for (uint32_t number = 0; number < hub->config->port_count; number++) {
        struct port *port = &hub->ports[number];
        if (port->link >= 0) {
            close(port->link);
        }
        free(port->input);
        queue_close(&port->queue);
    }
}

void hub_connect(struct hub *hub, uint32_t number, int link)
{
    struct port *port = &hub->ports[number];
    port->link = link;
    port->hung_up = false;
    port->connections++;
    port->moved_at = hub->now;
    vswitch_set_link(&hub->state, number, true);
}

void hub_hang_up(struct hub *hub, uint32_t number)
{
    struct port *port = &hub->ports[number];
    port->hung_up = true;
    vswitch_set_link(&hub->state, number, false);
    for (int i = 0; i < port->batch_count; i++) {
        port->lost_bytes += port->batch[i].iov_len;
    }
    port->batch_count = 0;
    port->lost_bytes += queue_used(&port->queue);
    queue_take(&port->queue, queue_used(&port->queue));
    port->full = false;
}

static void disconnect(struct hub *hub, struct port *port)
{
    hub_hang_up(hub, port->number);
    close(port->link);
    port->link = -1;
    port->start = port->end = 0;
    port->pending = 0;
}

/* Sends what the socket takes: bytes sent, or -1 after it has found the other end gone. */
static ssize_t send_vectors(struct hub *hub, struct port *port, struct iovec *vectors, int count)
{
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = (size_t)count};
    ssize_t sent;
    do {
        sent = sendmsg(port->link, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)) {
        return 0;
    }
    if (sent < 0) {
        hub_hang_up(hub, port->number);
        return -1;
    }
    port->moved += (size_t)sent;
    if (port->moved >= STALL_PROGRESS) {
        port->moved = 0;
        port->moved_at = hub->now;
    }
    return sent;
}

/* Writes the batch; what the socket does not take goes to the (empty) queue, before the input is overwritten.
 */
static void flush(struct hub *hub, struct port *to)
{
    if (to->batch_count == 0) {
        return;
    }
    ssize_t sent = send_vectors(hub, to, to->batch, to->batch_count);
    if (sent < 0) {
        return;
    }
    size_t skip = (size_t)sent;
    for (int i = 0; i < to->batch_count; i++) {
        size_t length = to->batch[i].iov_len;
        size_t done = skip < length ? skip : length;
        skip -= done;
        if (done < length) {
            if (queue_used(&to->queue) == 0) {
                to->moved = 0;
                to->moved_at = hub->now;
            }
            queue_put(&to->queue, (const uint8_t *)to->batch[i].iov_base + done, length - done);
        }
    }
    to->batch_count = 0;
    if (queue_used(&to->queue) > to->queued_peak) {
        to->queued_peak = queue_used(&to->queue);
    }
}

static bool stalled(const struct hub *hub, const struct port *to)
{
    return hub->stall_ms > 0 && hub->now - to->moved_at >= hub->stall_ms;
}

/* False when the frame (its length prefix included) has to wait. */
static bool deliver(struct hub *hub, struct port *from, struct port *to, uint8_t *bytes, size_t length)
{
    if (to->link < 0 || to->hung_up) {
        vswitch_count_drop(&hub->state, from->number, VSWITCH_PORT_DOWN);
        return true;
    }
    if (queue_used(&to->queue) == 0) {
        struct iovec *last = to->batch_count ? &to->batch[to->batch_count - 1] : NULL;
        if (last && (uint8_t *)last->iov_base + last->iov_len == bytes) {
            last->iov_len += length;
            vswitch_count_sent(&hub->state, to->number, length - LENGTH_PREFIX);
            return true;
        }
        if (to->batch_count == BATCH_VECTORS) {
            flush(hub, to);
            return deliver(hub, from, to, bytes, length);
        }
        to->batch[to->batch_count++] = (struct iovec){bytes, length};
    } else if (!to->full && queue_room(&to->queue) >= length) {
        queue_put(&to->queue, bytes, length);
        if (queue_used(&to->queue) > to->queued_peak) {
            to->queued_peak = queue_used(&to->queue);
        }
    } else {
        to->full = true;
        if (!stalled(hub, to)) {
            return false;
        }
        vswitch_count_drop(&hub->state, from->number, VSWITCH_STALLED);
        return true;
    }
    vswitch_count_sent(&hub->state, to->number, length - LENGTH_PREFIX);
    return true;
}

/* Forwards what is in the port's input, up to a frame that has to wait. False when the link broke the
 * protocol. */
static bool forward(struct hub *hub, struct port *from)
{
    uint64_t touched = 0;
    bool sane = true;
    while (from->end - from->start >= LENGTH_PREFIX) {
        uint8_t *bytes = from->input + from->start;
        uint32_t length = frame_length(bytes);
        if (length > LINK_FRAME_MAX) {
            if (from->connections <= MAX_COMPLAINTS) {
                fprintf(stderr, "vswitch: port %s: a frame of %u bytes is announced; closing the link\n",
                        from->name, length);
            }
            sane = false;
            break;
        }
        if (from->end - from->start < LENGTH_PREFIX + length) {
            break;
        }
        if (!from->pending) {
            struct vswitch_verdict verdict =
                vswitch_decide(hub->config, &hub->state, from->number, bytes + LENGTH_PREFIX, length, NULL);
            capture_frame(hub->capture, from->number, bytes + LENGTH_PREFIX, length, verdict);
            from->pending = verdict.ports;
        }
        touched |= from->pending;
        for (uint64_t left = from->pending; left; left &= left - 1) {
            if (deliver(hub, from, &hub->ports[lowest(left)], bytes, LENGTH_PREFIX + length)) {
                from->pending &= ~(left & -left);
            }
        }
        if (from->pending) {
            break;
        }
        from->start += LENGTH_PREFIX + length;
    }
    for (; touched; touched &= touched - 1) {
        flush(hub, &hub->ports[lowest(touched)]);
    }
    return sane;
}

bool hub_receive(struct hub *hub, uint32_t number)
{
    struct port *port = &hub->ports[number];
    ssize_t received;
    if (port->pending) {
        return true;
    }
    /* What is left is less than one frame. */
    memmove(port->input, port->input + port->start, port->end - port->start);
    port->end -= port->start;
    port->start = 0;
    do {
        received = recv(port->link, port->input + port->end, INPUT_SIZE - port->end, MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR);
    if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        return true;
    }
    if (received > 0) {
        port->end += (size_t)received;
        if (forward(hub, port)) {
            return true;
        }
    } else if (port->end > 0 && port->connections <= MAX_COMPLAINTS) {
        fprintf(stderr, "vswitch: port %s: the link ended within a frame\n", port->name);
    }
    disconnect(hub, port);
    return false;
}

void hub_transmit(struct hub *hub, uint32_t number)
{
    struct port *port = &hub->ports[number];
    struct iovec vectors[2];
    int count = queue_vectors(&port->queue, vectors);
    if (count == 0 || port->link < 0) {
        return;
    }
    ssize_t sent = send_vectors(hub, port, vectors, count);
    if (sent < 0) {
        return;
    }
    queue_take(&port->queue, (size_t)sent);
    if (queue_used(&port->queue) <= port->queue.size / 2) {
        port->full = false;
    }
}

void hub_retry(struct hub *hub)
{
    uint32_t count = hub->config->port_count;
    hub->turn++;
    for (uint32_t i = 0; i < count; i++) {
        struct port *port = &hub->ports[(hub->turn + i) % count];
        if (port->pending && !forward(hub, port)) {
            disconnect(hub, port);
        }
    }
}

int hub_timeout(const struct hub *hub)
{
    int64_t wait = -1;
    for (uint32_t number = 0; number < hub->config->port_count && hub->stall_ms > 0; number++) {
        for (uint64_t left = hub->ports[number].pending; left; left &= left - 1) {
            int64_t due = hub->ports[lowest(left)].moved_at + hub->stall_ms - hub->now;
            if (wait < 0 || due < wait) {
                wait = due < 1 ? 1 : due;
            }
        }
    }
    return (int)wait;
}
