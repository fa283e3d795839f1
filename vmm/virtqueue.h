/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The device's side of a virtio split virtqueue (virtio 1.2, 2.7), with indirect descriptors and
 * event indices. The rings lie in guest memory and the guest may write anything into them at any
 * time, so each field is read once, checked, and used from the copy.
 *
 * A queue on which the guest broke a rule is marked broken and yields nothing more until the guest
 * resets the device.
 */

#include "mem.h"

#ifndef VIRTQ_MAX_SIZE
#define VIRTQ_MAX_SIZE 256u /* entries; what QueueNumMax says; the host switch has QEMU's */
#endif
#ifndef VIRTQ_MAX_SEGS
#define VIRTQ_MAX_SEGS 64u /* pieces of one chain that this device accepts; the model checker sets fewer */
#endif

struct virtq {
    const struct guest_ram *ram;
    uint16_t size; /* entries, a power of two up to VIRTQ_MAX_SIZE */
    bool ready;
    bool broken;
    bool use_events;     /* VIRTIO_F_EVENT_IDX negotiated */
    bool allow_indirect; /* VIRTIO_F_INDIRECT_DESC negotiated */
    bool told;           /* signalled_used holds something: an interrupt has been considered since reset */
    uint64_t desc_gpa;
    uint64_t avail_gpa;
    uint64_t used_gpa;
    uint8_t *desc; /* mapped rings, set by virtq_start */
    uint8_t *avail;
    uint8_t *used;
    uint16_t next_avail;     /* first entry of the available ring not yet taken */
    uint16_t next_used;      /* next entry of the used ring to fill */
    uint16_t signalled_used; /* next_used when the guest was last considered for an interrupt */
};

struct virtq_seg {
    uint8_t *data;
    uint32_t len;
};

/* A chain of buffers: first those the device reads, then those it writes. */
struct virtq_chain {
    uint16_t head;
    uint16_t readable;
    uint16_t writable;
    uint32_t readable_len;
    uint32_t writable_len;
    struct virtq_seg seg[VIRTQ_MAX_SEGS];
};

enum virtq_result { VIRTQ_EMPTY, VIRTQ_CHAIN, VIRTQ_BROKEN };

/* Back to the state after a device reset; keeps the memory it works in. */
void virtq_reset(struct virtq *q, const struct guest_ram *ram);

/* The guest declared the queue ready: checks size, alignment and place of the rings. False: it is broken. */
bool virtq_start(struct virtq *q);

/* Takes the next available chain. With peek, the chain stays available until virtq_advance. */
enum virtq_result virtq_peek(struct virtq *q, struct virtq_chain *chain);
void virtq_advance(struct virtq *q);

/* Whether there is a next available chain. */
bool virtq_waiting(const struct virtq *q);

/* The same with `ahead` chains skipped, for frames that need several buffers before any is given back. */
enum virtq_result virtq_peek_at(struct virtq *q, uint16_t ahead, struct virtq_chain *chain);

/* Writes a used entry without showing it; virtq_publish shows all that were written. */
void virtq_put_used(struct virtq *q, uint16_t ahead, uint16_t head, uint32_t written);
void virtq_publish(struct virtq *q, uint16_t count);

/* Whether the guest wants an interrupt for what was published since the last call. */
bool virtq_wants_interrupt(struct virtq *q);

/* Says that the device does not, or does again, want a notification for the next available chain. After
 * asking for it the ring has to be looked at once more: true means that there is something in it. */
void virtq_mute(struct virtq *q);
bool virtq_listen(struct virtq *q);

/* Copies between a chain and flat memory, starting `offset` bytes into the readable or writable part; returns
 * the number of bytes copied. */
uint32_t virtq_copy_out(const struct virtq_chain *chain, uint32_t offset, void *to, uint32_t len);
uint32_t virtq_copy_in(const struct virtq_chain *chain, uint32_t offset, const void *from, uint32_t len);
