/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue.h"

#include <string.h>
#include <sys/mman.h>

bool queue_open(struct queue *queue, size_t size)
{
    void *bytes =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED) {
        return false;
    }
    *queue = (struct queue){.bytes = bytes, .size = size};
    return true;
}

void queue_close(struct queue *queue)
{
    if (queue->bytes) {
        munmap(queue->bytes, queue->size);
        queue->bytes = NULL;
    }
}

void queue_put(struct queue *queue, const uint8_t *bytes, size_t length)
{
    size_t at = (size_t)queue->tail & (queue->size - 1);
    size_t first = queue->size - at < length ? queue->size - at : length;
    memcpy(queue->bytes + at, bytes, first);
    memcpy(queue->bytes, bytes + first, length - first);
    queue->tail += length;
}

int queue_vectors(const struct queue *queue, struct iovec vectors[2])
{
    size_t used = queue_used(queue);
    size_t at = (size_t)queue->head & (queue->size - 1);
    size_t first = queue->size - at < used ? queue->size - at : used;
    if (used == 0) {
        return 0;
    }
    vectors[0] = (struct iovec){queue->bytes + at, first};
    vectors[1] = (struct iovec){queue->bytes, used - first};
    return used > first ? 2 : 1;
}

void queue_read(struct queue *queue, uint8_t *bytes, size_t length)
{
    struct iovec vectors[2] = {{bytes, 0}, {bytes, 0}};
    int count = queue_vectors(queue, vectors);
    size_t first = vectors[0].iov_len < length ? vectors[0].iov_len : length;
    memcpy(bytes, vectors[0].iov_base, first);
    if (count == 2) {
        memcpy(bytes + first, vectors[1].iov_base, length - first);
    }
    queue_take(queue, length);
}

void queue_take(struct queue *queue, size_t length)
{
    queue->head += length;
    if (queue->head == queue->tail) {
        queue->head = queue->tail = 0;
    }
}
