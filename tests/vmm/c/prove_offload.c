/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Harnesses for the CBMC model checker: what a receiver's device makes of a frame's offload metadata changes
 * nothing that the switch has judged. The device's receiving half is included as source, so that its own
 * functions can be called. tests/vmm/test_proofs.py has the bounds.
 */
#include "prove.h"
#include "virtio_net_rx.c"

#define FRAME 60u

static uint8_t pool[FRAME];

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

/* Any metadata that a device accepts: the checksum goes into the header of TCP or UDP, within the frame, and
 * only TCP is segmented. The sum reads no byte outside the frame, and is never 0, which in UDP means that
 * there is none. */
void prove_completion(void);
void prove_completion(void)
{
    struct netq_frame frame;
    uint32_t length = nondet_u32();
    ASSUME(length >= ETHERNET_HEADER && length <= FRAME);
    any_frame(&frame, length);
    if (!offload_possible(&frame) || frame.flags == 0) {
        return;
    }
    uint32_t place = (uint32_t)frame.csum_start + frame.csum_offset;
    ASSERT(frame.flags == HDR_NEEDS_CSUM, "no other flag");
    ASSERT(frame.csum_start == 34 && (place == 34 + 16 || place == 34 + 6), "a checksum of TCP or UDP");
    ASSERT(place + 2 <= length, "within the frame");
    ASSERT(frame.gso_type == GSO_NONE || (frame.gso_type == GSO_TCPV4 && place == 34 + 16),
           "segments of TCP");
    const struct content content = {NULL, 0, pool, length};
    ASSERT((checksum(&content, frame.csum_start) & 0xffff) != 0, "a checksum");
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
