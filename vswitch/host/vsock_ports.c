/* SPDX-License-Identifier: BSD-2-Clause */

/* The life of a port's vsock device: QEMU comes, the guest's driver starts and stops it, QEMU goes. */
#include "vsock_hub.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* A port's log lines: its guest may break the device again and again. */
#define MAX_COMPLAINTS 20u
/* Before the others' turn; a device starts with some twenty. */
#define MAX_MESSAGES 64u

static bool watch_kick(void *context, uint32_t ring, int descriptor, bool on)
{
    const struct vsock_device *device = context;
    return device->hub->watch_kick(device->number, ring, descriptor, on);
}

/* Room for a share of each port with which it has a rule, as a power of two. */
static size_t waiting_size(const struct vsock_config *config, uint32_t number)
{
    uint64_t peers = 0;
    size_t size = VSOCK_SHARE;
    for (uint32_t r = 0; r < config->rule_count; r++) {
        const struct vsock_rule *rule = &config->rules[r];
        if (rule->from == number || rule->to == number) {
            peers |= 1ull << (rule->from == number ? rule->to : rule->from);
        }
    }
    size_t needed = (size_t)__builtin_popcountll(peers) * VSOCK_SHARE + VSOCK_ANSWERS;
    while (size < needed) {
        size *= 2;
    }
    return size;
}

bool vsock_hub_open(struct vsock_hub *hub, const struct vsock_config *config, int64_t stall_ms)
{
    hub->config = config;
    hub->stall_ms = stall_ms;
    for (uint32_t number = 0; number < config->port_count; number++) {
        struct vsock_device *device = &hub->devices[number];
        device->number = number;
        device->name = config->ports[number].name;
        device->hub = hub;
        device->vhost.link = -1;
        device->vhost.cid = config->ports[number].cid;
        device->vhost.context = device;
        device->vhost.watch_kick = watch_kick;
        if (!queue_open(&device->waiting, waiting_size(config, number))) {
            return false;
        }
    }
    return true;
}

void vsock_hub_close(struct vsock_hub *hub)
{
    for (uint32_t number = 0; number < hub->config->port_count; number++) {
        if (hub->devices[number].vhost.link >= 0) {
            vhost_close(&hub->devices[number].vhost);
        }
        queue_close(&hub->devices[number].waiting);
    }
}

/* What a port's device held for its connections goes with them. */
void vsock_hub_set_link(struct vsock_device *device, enum vsock_link link)
{
    struct vsock_hub *hub = device->hub;
    vsock_set_link(hub->config, &hub->state, device->number, link);
    if (link == VSOCK_UP) {
        device->moved = 0;
        device->moved_at = hub->now;
        return;
    }
    queue_take(&device->waiting, queue_used(&device->waiting));
    device->draining = false;
    for (uint32_t from = 0; from < VSOCK_MAX_PORTS; from++) {
        device->shares[from] = 0;
    }
    for (uint32_t from = 0; from < hub->config->port_count; from++) {
        struct vsock_device *sender = &hub->devices[from];
        if (sender->judged && (sender == device || sender->verdict.to == device->number)) {
            sender->verdict.action = VSOCK_DROP;
        }
    }
}

static void close_link(struct vsock_device *device)
{
    vhost_close(&device->vhost);
    device->running = device->judged = device->blocked = device->filling = false;
    vsock_hub_set_link(device, VSOCK_DETACHED);
    device->hub->more = true; /* others may be owed a RST */
}

void vsock_hub_fault(struct vsock_device *device, const char *why)
{
    if (device->faults++ < MAX_COMPLAINTS) {
        fprintf(stderr, "vswitch: port %s: vsock: %s; closing the link\n", device->name, why);
    }
    close_link(device);
}

/* Follows the rings: both started, or no longer. */
static void update(struct vsock_device *device)
{
    bool running = vhost_is_running(&device->vhost);
    if (running == device->running) {
        return;
    }
    device->running = running;
    device->judged = device->blocked = device->filling = false;
    vsock_hub_set_link(device, running ? VSOCK_UP : VSOCK_PAUSED);
    device->hub->more = true;
}

void vsock_hub_connect(struct vsock_hub *hub, uint32_t port, int link)
{
    struct vsock_device *device = &hub->devices[port];
    vhost_open(&device->vhost, link);
    device->links++;
}

void vsock_hub_receive(struct vsock_hub *hub, uint32_t port)
{
    struct vsock_device *device = &hub->devices[port];
    const char *problem = NULL;
    for (uint32_t messages = 0; messages < MAX_MESSAGES && device->vhost.link >= 0; messages++) {
        switch (vhost_receive(&device->vhost, &problem)) {
        case VHOST_WAIT:
            return;
        case VHOST_MESSAGE:
            update(device);
            break;
        case VHOST_END:
            close_link(device);
            break;
        case VHOST_BAD:
            vsock_hub_fault(device, problem);
            break;
        }
    }
}

void vsock_hub_kick(struct vsock_hub *hub, uint32_t port, uint32_t ring)
{
    struct vsock_device *device = &hub->devices[port];
    uint64_t count;
    if (device->vhost.link < 0 || device->vhost.rings[ring].kick < 0) {
        return;
    }
    ssize_t got = read(device->vhost.rings[ring].kick, &count, sizeof(count));
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        vsock_hub_fault(device, "a ring's event descriptor is not one");
    }
}
