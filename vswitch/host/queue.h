/* SPDX-License-Identifier: BSD-2-Clause */

/* A byte ring: what a port's guest has not taken yet. The memory is reserved at once and touched only as it
 * fills. */
#ifndef VSWITCH_HOST_QUEUE_H
#define VSWITCH_HOST_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct queue {
    uint8_t *bytes;
    size_t size; /* a power of two */
    uint64_t head;
    uint64_t tail;
};

/* False when there is no address space for `size` bytes (a power of two). */
bool queue_open(struct queue *queue, size_t size);
void queue_close(struct queue *queue);

static inline size_t queue_used(const struct queue *queue)
{
    return (size_t)(queue->tail - queue->head);
}

static inline size_t queue_room(const struct queue *queue)
{
    return queue->size - queue_used(queue);
}

/* The caller has checked that there is room. */
void queue_put(struct queue *queue, const uint8_t *bytes, size_t length);

/* The content as one or two vectors, oldest byte first; returns how many. */
int queue_vectors(const struct queue *queue, struct iovec vectors[2]);

/* Takes out the oldest `length` bytes, which must be there. */
void queue_read(struct queue *queue, uint8_t *bytes, size_t length);

/* Forgets the oldest `length` bytes; an empty queue starts again at its first page. */
void queue_take(struct queue *queue, size_t length);

#endif
