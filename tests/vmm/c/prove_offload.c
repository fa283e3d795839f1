/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Harnesses for the CBMC model checker: what a receiver's device makes of a frame's offload metadata changes
 * nothing that the switch has judged. The device's receiving half is included as source, so that its own
 * functions can be called. test_vmm_proofs.py has the bounds.
 */
#include "virtio_net_rx.c"

uint64_t nondet_u64(void);
uint32_t nondet_u32(void);
uint16_t nondet_u16(void);
uint8_t nondet_u8(void);

#define ASSUME(condition) __CPROVER_assume(condition)
#define ASSERT(condition, text) __CPROVER_assert(condition, text)
#define REACHED() __CPROVER_assert(0, "REACHED")

#define BASE 0x40000000ULL
#define FRAME 60u
#define BUFFER 128u
#define PLACE 256u /* of the receive buffer in the guest's memory, behind the rings */

static uint8_t memory[PLACE + BUFFER + 64] __attribute__((aligned(16)));
static uint8_t pool[FRAME];
static const struct guest_ram ram = {BASE, sizeof(memory), memory};
static struct virtio_net net;

static void any_frame(struct netq_frame *frame, uint32_t length)
{
    __CPROVER_havoc_object(pool);
    *frame = (struct netq_frame){.length = length};
    frame->flags = nondet_u8();
    frame->gso_type = nondet_u8();
    frame->hdr_len = nondet_u16();
    frame->gso_size = nondet_u16();
    frame->csum_start = nondet_u16();
    frame->csum_offset = nondet_u16();
}

static uint32_t be(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

/* Any metadata and bytes of a frame that is not segmented, to a driver with any features and one buffer: the
 * guest sees the frame as it was, but for a checksum in the header of TCP or UDP. */
void prove_completion(void);
void prove_completion(void)
{
    static const uint64_t buffer[2] = {BASE + PLACE, BUFFER | (uint64_t)2 << 32}; /* writable */
    struct netq_frame frame;
    any_frame(&frame, FRAME);
    frame.gso_type = GSO_NONE;
    struct virtq *q = &net.dev.queue[VIRTIO_NET_RX];
    virtq_reset(q, &ram);
    q->size = 2;
    q->desc_gpa = BASE;
    q->avail_gpa = BASE + 64;
    q->used_gpa = BASE + 128;
    memcpy(memory, buffer, sizeof(buffer));
    memory[66] = 1; /* one available entry: descriptor 0 */
    q->ready = virtq_start(q);
    ASSERT(q->ready, "these places are good");
    net.dev.status = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK;
    net.dev.features = nondet_u64();
    net.source[0] = (struct virtio_net_source){pool, FRAME};
    ASSERT(receive(&net, &frame), "a frame with a buffer does not wait");
    if (q->next_used == 0) {
        ASSERT(!offload_possible(&frame), "only impossible metadata is refused");
        return;
    }
    const uint8_t *seen = memory + PLACE + VIRTIO_NET_HEADER;
    bool csum = (frame.flags & HDR_NEEDS_CSUM) != 0;
    bool completed = csum && (net.dev.features & F_GUEST_CSUM) == 0;
    for (uint32_t at = 0; at < FRAME; at++) {
        bool field = completed && (at == 34u + frame.csum_offset || at == 35u + frame.csum_offset);
        ASSERT(seen[at] == pool[at] || field, "nothing is written but the checksum that was asked for");
    }
    if (csum) {
        ASSERT(frame.csum_start == 34 && (frame.csum_offset == 16 || frame.csum_offset == 6),
               "no other request is delivered");
    }
    ASSERT(memory[PLACE] == (completed ? 0 : frame.flags), "the flags");
    ASSERT(memory[PLACE + 1] == GSO_NONE, "no segmentation");
    for (uint32_t at = PLACE + VIRTIO_NET_HEADER + FRAME; at < sizeof(memory); at++) {
        ASSERT(memory[at] == 0, "nothing behind the frame");
    }
    REACHED();
}

/* Any headers that are cut up: each segment has them as they were judged, but for lengths, numbers,
 * checksums, and the flags that only one segment may have. */
void prove_segments(void);
void prove_segments(void)
{
    static struct segment_plan plan;
    uint8_t head[SEGMENT_HEAD_MAX];
    struct netq_frame frame;
    uint32_t limit = nondet_u32();
    ASSUME(limit <= ETHERNET_HEADER + 1500);
    any_frame(&frame, FRAME);
    if (!segment_plan(&plan, &frame, pool, limit)) {
        return;
    }
    ASSERT(plan.head_length <= FRAME && plan.tcp >= 34 && plan.tcp + 20 <= plan.head_length, "whole headers");
    ASSERT(plan.tcp == frame.csum_start && frame.csum_offset == 16, "of the request");
    ASSERT(pool[12] == 8 && pool[13] == 0 && pool[23] == 6, "of TCP over IPv4");
    ASSERT(plan.cut != 0 && plan.head_length + plan.cut <= limit, "within the limit");
    ASSUME(plan.tcp == 34); /* what the switch lets pass */
    ASSUME(plan.cut <= 8); /* of up to 6 bytes of payload: a solver does not divide for larger ones in time */
    uint32_t n = nondet_u32();
    ASSUME(n < plan.count);
    uint32_t length = segment_head(&plan, n, head);
    ASSERT(length <= plan.cut && n * plan.cut + length <= plan.payload, "a piece of the payload");
    ASSERT(n + 1 != plan.count || n * plan.cut + length == plan.payload, "the last one ends it");
    ASSERT(be(head + 16) == plan.head_length - 14 + length, "the packet's length is the segment's");
    uint32_t at = nondet_u32();
    ASSUME(at < plan.head_length);
    bool counted =
        (at >= 16 && at < 20) || at == 24 || at == 25 || (at >= 38 && at < 42) || at == 50 || at == 51;
    if (at == 47) {
        ASSERT((head[47] & ~pool[47]) == 0, "no flag is added");
        ASSERT(((head[47] ^ pool[47]) & ~0x89) == 0, "none is lost but FIN, PSH and CWR");
    } else if (!counted) {
        ASSERT(head[at] == pool[at], "all else is as it was judged");
    }
    REACHED();
}
