/* SPDX-License-Identifier: BSD-2-Clause */
#include "segment.h"

#define ETHERNET 14u
#define IPV4_HEADER 20u
#define TCP_HEADER 20u
#define TCP 6u
#define CHECKSUM 16u /* offset in the TCP header */

enum { FIN = 0x01, PSH = 0x08, CWR = 0x80 };

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

uint32_t inet_sum(uint32_t sum, const uint8_t *data, uint32_t length)
{
    uint64_t wide = sum;
    uint32_t i = 0;
    for (; i + 1 < length; i += 2) {
        wide += get16(data + i);
    }
    if (i < length) {
        wide += (uint32_t)data[i] << 8;
    }
    while (wide >> 16) {
        wide = (wide & 0xffff) + (wide >> 16);
    }
    return (uint32_t)wide;
}

/* Where TCP begins in the headers, or 0. */
static uint32_t find_tcp(const uint8_t *head, uint32_t room)
{
    const uint8_t *ip = head + ETHERNET;
    if (room < ETHERNET + IPV4_HEADER + TCP_HEADER) {
        return 0;
    }
    uint32_t length = (ip[0] & 0xfu) * 4;
    bool whole = (get16(ip + 6) & 0x3fff) == 0;
    return get16(head + 12) == 0x0800 && ip[0] >> 4 == 4 && length >= IPV4_HEADER && ip[9] == TCP && whole
               ? ETHERNET + length
               : 0;
}

bool segment_plan(struct segment_plan *plan, const struct netq_frame *frame, const uint8_t *data,
                  uint32_t longest)
{
    uint32_t room = (uint32_t)min_u64(frame->length, SEGMENT_HEAD_MAX);
    /* Judged in the copy: the sender could still change the original. */
    memcpy(plan->head, data, room);
    plan->tcp = find_tcp(plan->head, room);
    if (plan->tcp == 0 || plan->tcp + TCP_HEADER > room || frame->csum_start != plan->tcp ||
        frame->csum_offset != CHECKSUM || frame->gso_size == 0) {
        return false;
    }
    uint32_t tcp_header = (plan->head[plan->tcp + 12] >> 4) * 4u;
    plan->head_length = plan->tcp + tcp_header;
    plan->cut = frame->gso_size;
    if (tcp_header < TCP_HEADER || plan->head_length > room || plan->head_length + plan->cut > longest) {
        return false;
    }
    plan->payload = frame->length - plan->head_length;
    plan->count = plan->payload == 0 ? 1 : (plan->payload + plan->cut - 1) / plan->cut;
    return true;
}

uint32_t segment_head(const struct segment_plan *plan, uint32_t n, uint8_t head[SEGMENT_HEAD_MAX])
{
    bool last = n + 1 == plan->count;
    uint32_t length = last ? plan->payload - n * plan->cut : plan->cut;
    uint32_t tcp_length = plan->head_length - plan->tcp + length;
    uint8_t *ip = head + ETHERNET, *tcp = head + plan->tcp;
    memcpy(head, plan->head, plan->head_length);
    put16(ip + 2, plan->tcp - ETHERNET + tcp_length);
    put16(ip + 4, get16(ip + 4) + n);
    put16(ip + 10, 0);
    put16(ip + 10, ~inet_sum(0, ip, plan->tcp - ETHERNET));
    uint32_t sequence = (get16(tcp + 4) << 16 | get16(tcp + 6)) + n * plan->cut;
    put16(tcp + 4, sequence >> 16);
    put16(tcp + 6, sequence);
    if (!last) {
        tcp[13] &= (uint8_t) ~(FIN | PSH);
    }
    if (n != 0) {
        tcp[13] &= (uint8_t)~CWR;
    }
    /* The pseudo header's sum; tcp_length is below 2^16, and so is its sum with the protocol's number folded.
     */
    put16(tcp + CHECKSUM, inet_sum(TCP + tcp_length, ip + 12, 8));
    return length;
}
