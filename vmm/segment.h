/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * TCP segmentation in software, for a guest whose driver takes no segmented frames: cuts the payload of one
 * frame into pieces of gso_size bytes and makes each piece's headers (RFC 9293, RFC 791).
 */

#include "netq.h"

#define SEGMENT_HEAD_MAX 134u /* Ethernet 14, IPv4 with options 60, TCP with options 60 */

struct segment_plan {
    uint8_t head[SEGMENT_HEAD_MAX]; /* the frame's headers, a copy of our own */
    uint32_t head_length;
    uint32_t tcp;     /* offset of the TCP header */
    uint32_t payload; /* bytes behind the headers */
    uint32_t cut;     /* bytes of it in each segment but the last */
    uint32_t count;   /* segments, at least one */
};

/* Reads the headers of a segmented frame. False when they are not TCP over IPv4, do not fit the frame, or
 * would give segments longer than `longest` bytes. */
bool segment_plan(struct segment_plan *plan, const struct netq_frame *frame, const uint8_t *data,
                  uint32_t longest);

/* The headers of segment n (below count), head_length bytes, with the checksum left to be finished as
 * virtio's NEEDS_CSUM has it. Returns how many bytes of payload follow: they begin head_length + n * cut
 * bytes into the frame. */
uint32_t segment_head(const struct segment_plan *plan, uint32_t n, uint8_t head[SEGMENT_HEAD_MAX]);

/* The Internet checksum's sum (RFC 1071) of big-endian 16-bit words, folded to 16 bits. Pieces but the last
 * have an even length. */
uint32_t inet_sum(uint32_t sum, const uint8_t *data, uint32_t length);
