/* SPDX-License-Identifier: BSD-2-Clause */

/* In place of the vsock device, in a VMM whose guest has a network device: nothing here is called. */
#include "virtio_vsock.h"

void virtio_vsock_init(struct virtio_vsock *vsock, const struct guest_ram *ram, uint32_t cid,
                       struct netq_port *port, uint8_t *pool, uint32_t pool_size, uint64_t frequency)
{
    (void)vsock, (void)ram, (void)cid, (void)port, (void)pool, (void)pool_size, (void)frequency;
}

void virtio_vsock_send(struct virtio_vsock *vsock)
{
    (void)vsock;
}

bool virtio_vsock_finish(struct virtio_vsock *vsock)
{
    (void)vsock;
    return false;
}

uint64_t virtio_vsock_paid(struct virtio_vsock *vsock, uint64_t ticks)
{
    (void)vsock, (void)ticks;
    return 0;
}

bool virtio_vsock_pending(struct virtio_vsock *vsock)
{
    (void)vsock;
    return false;
}

void virtio_vsock_took(struct virtio_vsock *vsock, uint64_t ticks)
{
    (void)vsock, (void)ticks;
}

uint64_t virtio_vsock_deadline(struct virtio_vsock *vsock, uint64_t now)
{
    (void)vsock, (void)now;
    return VIRTIO_VSOCK_NEVER;
}

void virtio_vsock_due(struct virtio_vsock *vsock, uint64_t now)
{
    (void)vsock, (void)now;
}
