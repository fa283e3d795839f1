/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtqueue.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };

#define DESC_BYTES 16u
#define USED_BYTES 8u /* of one entry */

/* The rings are shared with a running guest: single accesses of the field's own width, ordered where the
 * specification orders them (2.7.13). The guest is little-endian arm64, and so are we. */
static uint16_t load16(const uint8_t *p)
{
    return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_ACQUIRE);
}

static void store16(uint8_t *p, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)p, value, __ATOMIC_RELEASE);
}

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

static struct desc load_desc(const uint8_t *table, uint32_t index)
{
    const uint8_t *p = table + (size_t)index * DESC_BYTES;
    struct desc d;
    d.addr = __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
    d.len = __atomic_load_n((const uint32_t *)(const void *)(p + 8), __ATOMIC_RELAXED);
    d.flags = __atomic_load_n((const uint16_t *)(const void *)(p + 12), __ATOMIC_RELAXED);
    d.next = __atomic_load_n((const uint16_t *)(const void *)(p + 14), __ATOMIC_RELAXED);
    return d;
}

void virtq_reset(struct virtq *q, const struct guest_ram *ram)
{
    memset(q, 0, sizeof(*q));
    q->ram = ram;
}

bool virtq_start(struct virtq *q)
{
    bool power = q->size != 0 && (q->size & (q->size - 1)) == 0 && q->size <= VIRTQ_MAX_SIZE;
    bool aligned = q->desc_gpa % 16 == 0 && q->avail_gpa % 2 == 0 && q->used_gpa % 4 == 0;
    q->broken = true;
    if (power && aligned) {
        /* flags, idx, ring, and the event field that follows the ring */
        q->desc = ram_at(q->ram, q->desc_gpa, (uint64_t)DESC_BYTES * q->size);
        q->avail = ram_at(q->ram, q->avail_gpa, 6 + 2ull * q->size);
        q->used = ram_at(q->ram, q->used_gpa, 6 + (uint64_t)USED_BYTES * q->size);
        q->broken = q->desc == NULL || q->avail == NULL || q->used == NULL;
    }
    return !q->broken;
}

static bool add_segment(struct virtq *q, struct virtq_chain *chain, const struct desc *d)
{
    uint32_t count = (uint32_t)chain->readable + chain->writable;
    uint32_t *total = d->flags & DESC_WRITE ? &chain->writable_len : &chain->readable_len;
    uint8_t *data = ram_at(q->ram, d->addr, d->len);
    bool ordered = (d->flags & DESC_WRITE) || chain->writable == 0;
    /* 2.7.4: all that the device reads comes before all that it writes. */
    if (count == VIRTQ_MAX_SEGS || data == NULL || !ordered || d->len > UINT32_MAX - *total) {
        return false;
    }
    chain->seg[count] = (struct virtq_seg){data, d->len};
    *total += d->len;
    if (d->flags & DESC_WRITE) {
        chain->writable++;
    } else {
        chain->readable++;
    }
    return true;
}

/* Follows a chain through a table; the number of entries bounds the walk, so a loop ends. */
static bool walk(struct virtq *q, const uint8_t *table, uint32_t entries, uint32_t index,
                 struct virtq_chain *chain, bool indirect)
{
    for (uint32_t steps = 0; steps < entries; steps++) {
        if (index >= entries) {
            return false;
        }
        struct desc d = load_desc(table, index);
        if (d.flags & DESC_INDIRECT) {
            const uint8_t *inner = ram_at(q->ram, d.addr, d.len);
            uint32_t inner_entries = d.len / DESC_BYTES;
            /* 2.7.5.3: no table within a table, and no INDIRECT with NEXT; it may lie anywhere, and eight
             * bytes are what we need to read its addresses in one piece. */
            if (indirect || !q->allow_indirect || (d.flags & DESC_NEXT) || inner == NULL ||
                d.len % DESC_BYTES != 0 || inner_entries == 0 || d.addr % 8 != 0) {
                return false;
            }
            return walk(q, inner, inner_entries, 0, chain, true);
        }
        if (!add_segment(q, chain, &d)) {
            return false;
        }
        if (!(d.flags & DESC_NEXT)) {
            return true;
        }
        index = d.next;
    }
    return false;
}

enum virtq_result virtq_peek_at(struct virtq *q, uint16_t ahead, struct virtq_chain *chain)
{
    if (!q->ready || q->broken) {
        return q->broken ? VIRTQ_BROKEN : VIRTQ_EMPTY;
    }
    uint16_t waiting = (uint16_t)(load16(q->avail + 2) - q->next_avail);
    if (waiting > q->size) {
        q->broken = true;
        return VIRTQ_BROKEN;
    }
    if (waiting <= ahead) {
        return VIRTQ_EMPTY;
    }
    uint16_t slot = (uint16_t)(q->next_avail + ahead) & (uint16_t)(q->size - 1);
    chain->head = load16(q->avail + 4 + 2 * (size_t)slot);
    chain->readable = chain->writable = 0;
    chain->readable_len = chain->writable_len = 0;
    if (!walk(q, q->desc, q->size, chain->head, chain, false)) {
        q->broken = true;
        return VIRTQ_BROKEN;
    }
    return VIRTQ_CHAIN;
}

bool virtq_waiting(const struct virtq *q)
{
    return q->ready && !q->broken && load16(q->avail + 2) != q->next_avail;
}

enum virtq_result virtq_peek(struct virtq *q, struct virtq_chain *chain)
{
    return virtq_peek_at(q, 0, chain);
}

void virtq_advance(struct virtq *q)
{
    q->next_avail++;
}

void virtq_put_used(struct virtq *q, uint16_t ahead, uint16_t head, uint32_t written)
{
    uint16_t slot = (uint16_t)(q->next_used + ahead) & (uint16_t)(q->size - 1);
    uint8_t *entry = q->used + 4 + (size_t)slot * USED_BYTES;
    __atomic_store_n((uint32_t *)(void *)entry, (uint32_t)head, __ATOMIC_RELAXED);
    __atomic_store_n((uint32_t *)(void *)(entry + 4), written, __ATOMIC_RELAXED);
}

void virtq_publish(struct virtq *q, uint16_t count)
{
    q->next_used = (uint16_t)(q->next_used + count);
    store16(q->used + 2, q->next_used);
}

bool virtq_wants_interrupt(struct virtq *q)
{
    if (!q->ready || q->broken || q->signalled_used == q->next_used) {
        return false;
    }
    /* Our index must be visible before the guest's wish is read, or both sides could fall asleep. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t before = q->signalled_used;
    bool first = !q->told;
    q->signalled_used = q->next_used;
    q->told = true;
    if (!q->use_events) {
        return !(load16(q->avail) & AVAIL_NO_INTERRUPT);
    }
    uint16_t event = load16(q->avail + 4 + 2 * (size_t)q->size);
    return first || (uint16_t)(q->next_used - event - 1) < (uint16_t)(q->next_used - before);
}

void virtq_mute(struct virtq *q)
{
    if (q->ready && !q->broken && !q->use_events) {
        store16(q->used, USED_NO_NOTIFY);
    }
}

bool virtq_listen(struct virtq *q)
{
    if (!q->ready || q->broken) {
        return false;
    }
    if (q->use_events) {
        /* Behind what is there already, taken or not: the guest rings for the next chain that it adds. */
        store16(q->used + 4 + (size_t)USED_BYTES * q->size, load16(q->avail + 2));
    } else {
        store16(q->used, 0);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return load16(q->avail + 2) != q->next_avail;
}

/* Copies to or from the segments [first, first + count), beginning `offset` bytes in. */
static uint32_t copy(const struct virtq_chain *chain, uint32_t first, uint32_t count, uint32_t offset,
                     uint8_t *out, const uint8_t *in, uint32_t len)
{
    uint32_t done = 0;
    for (uint32_t i = first; i < first + count && done < len; i++) {
        const struct virtq_seg *seg = &chain->seg[i];
        if (offset >= seg->len) {
            offset -= seg->len;
            continue;
        }
        uint32_t n = (uint32_t)min_u64(seg->len - offset, len - done);
        if (out != NULL) {
            memcpy(out + done, seg->data + offset, n);
        } else {
            memcpy(seg->data + offset, in + done, n);
        }
        done += n;
        offset = 0;
    }
    return done;
}

uint32_t virtq_copy_out(const struct virtq_chain *chain, uint32_t offset, void *to, uint32_t len)
{
    return copy(chain, 0, chain->readable, offset, to, NULL, len);
}

uint32_t virtq_copy_in(const struct virtq_chain *chain, uint32_t offset, const void *from, uint32_t len)
{
    return copy(chain, chain->readable, chain->writable, offset, NULL, from, len);
}
