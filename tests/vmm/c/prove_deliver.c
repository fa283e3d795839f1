/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Harness for the CBMC model checker: what a receiver's guest finds in its buffers is the frame that was
 * judged, with its metadata, whatever the sender's frame, the driver's features and the guest's buffers are.
 * The device's receiving half is included as source. tests/vmm/test_proofs.py has the bounds.
 *
 * Guest memory is not modelled byte by byte. The solver chooses one byte of one buffer, and the stubs keep
 * what is written there: it holds for each of them. The stubs promise what prove.c and the cases prove of
 * virtqueue.c (chains, copies inside them), and of the sum only that it is a number of 16 bits.
 */
#include "prove.h"
#include "virtio_net_rx.c"

/* Buffers that the guest has given, at most. */
#define CHAINS 2u
/* Bytes of a frame, at most, and of a buffer: powers of two, so that the solver has few bits to guess. */
#define FRAME 64u
#define ROOM 128u
#define SUM 0x1234u

static uint8_t pool[FRAME], headers[SEGMENT_HEAD_MAX];
static uint32_t room[CHAINS]; /* bytes of each buffer */
static uint32_t given;
static bool summed;

/* The chosen byte: from which byte of the frame it was copied, or which value it got from the device itself.
 */
static uint32_t chosen_chain, chosen_at;
static const uint8_t *copied;
static uint8_t seen;
static bool written;

/* What was said to be used. */
static uint32_t used_bytes[CHAINS];
static bool used_said[CHAINS];

enum virtq_result virtq_peek_at(struct virtq *q, uint16_t ahead, struct virtq_chain *chain)
{
    if (q->broken || ahead >= given) {
        return q->broken ? VIRTQ_BROKEN : VIRTQ_EMPTY;
    }
    chain->head = ahead;
    chain->readable = nondet_bool();
    chain->writable_len = room[ahead];
    return VIRTQ_CHAIN;
}

uint32_t virtq_copy_in(const struct virtq_chain *chain, uint32_t offset, const void *from, uint32_t len)
{
    ASSERT(len == 0 || __CPROVER_r_ok(from, len), "copies from the frame only");
    uint32_t size = room[chain->head];
    uint32_t n = offset >= size ? 0 : len < size - offset ? len : size - offset;
    if (chain->head == chosen_chain && chosen_at >= offset && chosen_at - offset < n) {
        const uint8_t *byte = (const uint8_t *)from + (chosen_at - offset);
        bool frame = __CPROVER_same_object(from, pool) || __CPROVER_same_object(from, headers);
        copied = frame ? byte : NULL;
        if (!frame) {
            seen = *byte;
        }
        written = true;
    }
    return n;
}

void virtq_put_used(struct virtq *q, uint16_t ahead, uint16_t head, uint32_t length)
{
    (void)q;
    ASSERT(ahead == head && head < given, "a buffer that the guest has given");
    used_said[head] = true;
    used_bytes[head] = length;
}

uint32_t inet_sum(uint32_t sum, const uint8_t *data, uint32_t length)
{
    (void)sum;
    ASSERT(length == 0 || __CPROVER_r_ok(data, length), "sums up the frame only");
    summed = true;
    return SUM;
}

void prove_deliver(void);
void prove_deliver(void)
{
    static struct virtio_net net;
    struct virtq *q = &net.dev.queue[VIRTIO_NET_RX];
    net.dev.features = (nondet_bool() ? F_MRG_RXBUF : 0) | (nondet_bool() ? F_GUEST_CSUM : 0);
    q->size = VIRTQ_MAX_SIZE;
    q->broken = nondet_bool();
    given = nondet_u32() % (CHAINS + 1u);
    for (uint32_t i = 0; i < CHAINS; i++) {
        room[i] = nondet_u32() % ROOM;
    }
    chosen_chain = nondet_u32() % 4u;
    chosen_at = nondet_u32() % ROOM;

    struct content content = {NULL, 0, pool, nondet_u32() % FRAME};
    if (nondet_bool()) {
        content.head = headers;
        content.head_length = nondet_u32() % 64u;
        ASSUME(content.head_length >= CSUM_START + 20u && content.head_length <= SEGMENT_HEAD_MAX);
    }
    uint32_t length = content.head_length + content.body_length;
    ASSUME(length >= ETHERNET_HEADER);
    struct header h = {nondet_u8(), nondet_u8(), nondet_u16(), nondet_u16(), nondet_u16(), nondet_u16(), 0};
    uint32_t place = (uint32_t)h.csum_start + h.csum_offset;
    bool asked = (h.flags & HDR_NEEDS_CSUM) != 0;
    /* What offload_possible() has let pass: prove_completion. */
    ASSUME(!asked || (h.csum_start == CSUM_START && place + 2u <= length &&
                      (h.csum_offset == CSUM_OFFSET_TCP || h.csum_offset == CSUM_OFFSET_UDP)));

    uint16_t used = deliver(&net, h, &content);
    if (used == 0) {
        return;
    }
    ASSERT(used <= given && (used == 1 || has(&net, F_MRG_RXBUF)), "buffers that were given");
    bool completed = asked && !has(&net, F_GUEST_CSUM);
    ASSERT(summed == completed, "a checksum is completed for a driver that does not do it, and for no other");

    /* Where the chosen byte lies: in the header, or in the frame. */
    ASSUME(chosen_chain < used);
    uint32_t before = 0, total = 0;
    for (uint32_t i = 0; i < CHAINS && i < used; i++) {
        ASSERT(used_said[i] && used_bytes[i] <= room[i] && used_bytes[i] != 0,
               "what was said fits its buffer");
        before += i < chosen_chain ? used_bytes[i] : 0;
        total += used_bytes[i];
    }
    ASSERT(total == length + VIRTIO_NET_HEADER, "the whole frame, and nothing more");
    ASSUME(chosen_at < used_bytes[chosen_chain]);
    ASSERT(written, "no byte is left as it was in the guest's buffer");
    uint32_t at = before + chosen_at;
    if (at < VIRTIO_NET_HEADER) {
        static const struct header nothing;
        struct header expected = nothing;
        if (!completed) {
            expected = h;
        }
        expected.num_buffers = used;
        ASSERT(copied == NULL && seen == ((const uint8_t *)&expected)[at], "the metadata that was judged");
    } else {
        at -= VIRTIO_NET_HEADER;
        uint32_t sum = (uint16_t)~SUM;
        if (completed && (at == place || at == place + 1u)) {
            ASSERT(copied == NULL && seen == (uint8_t)(at == place ? sum >> 8 : sum),
                   "the checksum in its place");
        } else if (at < content.head_length) {
            ASSERT(copied == headers + at, "the headers that were made for it");
        } else {
            ASSERT(copied == pool + (at - content.head_length), "the bytes that were judged");
        }
    }
    REACHED();
}
