/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * One guest's vsock device as QEMU's vhost-user-vsock-device hands it over: its memory, its two rings (the
 * event queue stays with QEMU), and the messages about them (QEMU's docs/interop/vhost-user.rst).
 *
 * The other end is not trusted: each message is checked, the guest's memory must be a sealed memfd (one that
 * shrank would kill this process with SIGBUS), and its rings are read by the VMM's own virtqueue code.
 */
#ifndef VSWITCH_HOST_VHOST_USER_H
#define VSWITCH_HOST_VHOST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtqueue.h"

/* Queues of virtio-vsock (virtio 1.2, 5.10.2). */
enum { VHOST_RX, VHOST_TX, VHOST_RINGS };

/* Bytes of a guest's memory. The address space of this process is limited by it (sandbox.h). */
#define VHOST_MAX_MEMORY (64ull << 30)
#define VHOST_MAX_DESCRIPTORS 8u /* that come with one message; the protocol's limit on memory regions */
#define VHOST_MESSAGE_HEADER 12u
#define VHOST_MAX_PAYLOAD 512u /* a memory table of 8 regions has 264 */

struct vhost_ring {
    struct virtq queue; /* `ready`: started and enabled */
    uint16_t size;
    uint64_t desc; /* addresses in QEMU's own address space */
    uint64_t avail;
    uint64_t used;
    bool enabled;
    int kick; /* -1: none; the ring is started by it */
    int call; /* -1: none */
};

struct vhost_device {
    int link; /* -1: no QEMU */
    uint32_t cid;
    uint64_t features;
    struct guest_ram ram;  /* host is NULL: none yet */
    uint64_t user_address; /* where QEMU has the first byte of `ram` */
    struct vhost_ring rings[VHOST_RINGS];
    uint8_t input[VHOST_MESSAGE_HEADER + VHOST_MAX_PAYLOAD];
    size_t have;
    int descriptors[VHOST_MAX_DESCRIPTORS];
    uint32_t descriptor_count;
    /* Called before a kick descriptor is used and before it is closed; false: it cannot be watched. */
    bool (*watch_kick)(void *context, uint32_t ring, int descriptor, bool on);
    void *context;
};

/* Takes over a connected, non-blocking socket. The other members are set by the caller once. */
void vhost_open(struct vhost_device *device, int link);
void vhost_close(struct vhost_device *device);

enum vhost_result { VHOST_WAIT, VHOST_MESSAGE, VHOST_END, VHOST_BAD };

/* Reads and carries out the next message. END: the peer has hung up. BAD: *problem says why the device is to
 * be closed. */
enum vhost_result vhost_receive(struct vhost_device *device, const char **problem);

/* Both rings are started and enabled. */
static inline bool vhost_is_running(const struct vhost_device *device)
{
    return device->rings[VHOST_RX].queue.ready && device->rings[VHOST_TX].queue.ready;
}

/* Interrupts the guest if it wants that for what was published. */
void vhost_signal(struct vhost_ring *ring);

#endif
