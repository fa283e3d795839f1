/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Harnesses for the CBMC model checker: for all values within small bounds, no access outside an object, no
 * overflow of a shift or a signed number, and the assertions below. Each function is one proof;
 * tests/vmm/test_proofs.py has the bounds.
 */
#include "prove.h"
#include "mmio.h"
#include "netq.h"
#include "virtqueue.h"

#define BASE 0x40000000ULL
#define BYTES 96u
#define POOL_STEPS 6u /* pieces taken or given back */

static uint8_t memory[BYTES] __attribute__((aligned(16)));
static const struct guest_ram ram = {BASE, BYTES, memory};

/* Rings anywhere: what is accepted lies in the guest's memory. */
void prove_rings(void);
void prove_rings(void)
{
    struct virtq q;
    virtq_reset(&q, &ram);
    q.size = nondet_u16();
    q.desc_gpa = nondet_u64();
    q.avail_gpa = nondet_u64();
    q.used_gpa = nondet_u64();
    if (virtq_start(&q)) {
        ASSERT(q.size >= 1 && q.size <= VIRTQ_MAX_SIZE && (q.size & (q.size - 1)) == 0, "a power of two");
        ASSERT(q.desc >= memory && q.desc + 16u * q.size <= memory + BYTES, "the descriptors");
        ASSERT(q.avail >= memory && q.avail + 6u + 2u * q.size <= memory + BYTES, "the available ring");
        ASSERT(q.used >= memory && q.used + 6u + 8u * q.size <= memory + BYTES, "the used ring");
        REACHED();
    }
}

/* A queue of two entries with any bytes in its rings, descriptors and indirect tables. */
void prove_virtqueue(void);
void prove_virtqueue(void)
{
    struct virtq q;
    struct virtq_chain chain;
    __CPROVER_havoc_object(memory);
    virtq_reset(&q, &ram);
    q.size = 2;
    q.desc_gpa = BASE;
    q.avail_gpa = BASE + 32;
    q.used_gpa = BASE + 44;
    q.use_events = nondet_bool();
    q.allow_indirect = nondet_bool();
    q.next_avail = nondet_u16();
    q.next_used = nondet_u16();
    q.ready = virtq_start(&q);
    ASSERT(q.ready, "these places are good");
    if (virtq_peek(&q, &chain) == VIRTQ_CHAIN) {
        ASSERT((uint32_t)chain.readable + chain.writable <= VIRTQ_MAX_SEGS,
               "no more pieces than there is room for");
        uint32_t pick = nondet_u32();
        ASSUME(pick < (uint32_t)chain.readable + chain.writable);
        const struct virtq_seg *seg = &chain.seg[pick];
        ASSERT(seg->data >= memory && seg->len <= BYTES && seg->data + seg->len <= memory + BYTES,
               "every piece lies in the guest's memory");
        REACHED();
        virtq_put_used(&q, 0, chain.head, nondet_u32());
        virtq_advance(&q);
        virtq_publish(&q, 1);
    }
    virtq_wants_interrupt(&q);
    virtq_listen(&q);
    virtq_mute(&q);
}

/* No address and length of a guest lead outside its memory. */
void prove_guest_memory(void);
void prove_guest_memory(void)
{
    uint64_t gpa = nondet_u64(), len = nondet_u64();
    const uint8_t *p = ram_at(&ram, gpa, len);
    if (p != NULL) {
        ASSERT(len <= BYTES && gpa >= BASE && gpa - BASE <= BYTES - len, "inside");
        ASSERT(p == memory + (gpa - BASE), "and where it belongs");
        REACHED();
    } else {
        ASSERT(gpa < BASE || len > BYTES || gpa - BASE > BYTES - len, "refused only what is outside");
    }
}

/* Pieces of a pool, taken and given back in any order: inside it, and never two at one place. */
void prove_pool(void);
void prove_pool(void)
{
    struct netq_pool pool;
    uint32_t offset[4], length[4];
    uint16_t ticket[4];
    _Bool out[4] = {0};
    uint32_t size = nondet_u32();
    ASSUME(size >= 64 && size <= 1024 && size % 64 == 0);
    netq_pool_init(&pool, size);
    for (uint32_t step = 0; step < POOL_STEPS; step++) {
        /* What is taken gets the first free name of ours: other names are the same case again. */
        uint32_t i = 0;
        while (i < 4 && out[i]) {
            i++;
        }
        if (nondet_bool()) {
            i = nondet_u32();
            ASSUME(i < 4 && out[i]);
            ASSERT(netq_pool_give(&pool, ticket[i]), "what is out can be given back");
            out[i] = 0;
            continue;
        }
        ASSUME(i < 4);
        length[i] = nondet_u32();
        out[i] = netq_pool_take(&pool, length[i], &offset[i], &ticket[i]);
        if (out[i]) {
            ASSERT(length[i] <= size && offset[i] <= size - length[i], "inside the pool");
        }
    }
    if (out[0] && out[1] && out[2]) {
        REACHED();
        if (offset[0] > offset[1] && ticket[0] > ticket[1]) {
            REACHED(); /* both the pool and the tickets have gone round */
        }
    }
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = i + 1; k < 4; k++) {
            ASSERT(!out[i] || !out[k] || offset[i] + length[i] <= offset[k] ||
                       offset[k] + length[k] <= offset[i],
                   "no two pieces overlap");
            ASSERT(!out[i] || !out[k] || ticket[i] != ticket[k], "nor do their tickets");
        }
    }
    uint16_t other = nondet_u16();
    for (uint32_t i = 0; i < 4; i++) {
        ASSUME(!out[i] || ticket[i] != other);
    }
    ASSERT(!netq_pool_give(&pool, other), "a ticket that is not out is refused");
}

/* Whatever the peer writes into a ring, an end stays inside it. */
void prove_ring(void);
void prove_ring(void)
{
    static struct netq_ring ring;
    struct netq_end producer, consumer;
    struct netq_frame frame = {0};
    netq_attach(&producer, &ring);
    netq_attach(&consumer, &ring);
    producer.at = producer.shown = nondet_u32();
    consumer.at = consumer.shown = nondet_u32();
    ring.head = nondet_u32();
    ring.tail = nondet_u32();
    uint32_t room = netq_room(&producer);
    ASSERT(room <= NETQ_ENTRIES, "no more room than the ring has");
    if (room != 0) {
        netq_put(&producer, &frame);
        netq_show(&producer);
    }
    if (netq_look(&consumer, &frame)) {
        netq_take(&consumer);
        netq_release(&consumer);
        REACHED();
    }
    netq_sleep(&consumer);
}

/* Every syndrome is decoded into something that the bus can carry. */
void prove_decoding(void);
void prove_decoding(void)
{
    struct mmio_access access;
    uint64_t value = nondet_u64();
    if (mmio_decode(nondet_u64(), &access)) {
        ASSERT(access.size == 1 || access.size == 2 || access.size == 4 || access.size == 8,
               "a power of two");
        ASSERT(access.reg <= 31, "a register");
        uint64_t bits = access.size == 8 ? ~0ULL : (1ULL << (8 * access.size)) - 1;
        ASSERT((mmio_extend(&access, value) & bits) == (value & bits), "extension keeps the value's bytes");
        ASSERT((mmio_truncate(&access, value) & ~bits) == 0, "truncation leaves no others");
        REACHED();
    }
    struct trap trap = trap_decode(nondet_u64());
    ASSERT(trap.reg <= 31, "a register");
}
