/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the two directions of the network device share. */

#include "virtio_net.h"

#define F_CSUM (1ULL << 0)
#define F_GUEST_CSUM (1ULL << 1)
#define F_MTU (1ULL << 3)
#define F_MAC (1ULL << 5)
#define F_GUEST_TSO4 (1ULL << 7)
#define F_HOST_TSO4 (1ULL << 11)
#define F_MRG_RXBUF (1ULL << 15)
#define F_STATUS (1ULL << 16)

enum { HDR_NEEDS_CSUM = 1, HDR_DATA_VALID = 2 };
enum { GSO_NONE = 0, GSO_TCPV4 = 1 };
enum { STATUS_LINK_UP = 1 };

#define ETHERNET_HEADER 14u
/* Where the switch lets a checksum be completed: IPv4 options do not pass it. */
#define CSUM_START 34u
enum { CSUM_OFFSET_UDP = 6, CSUM_OFFSET_TCP = 16 };

/* struct virtio_net_hdr (5.1.6), little-endian like both of its ends. */
struct header {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t num_buffers;
};
_Static_assert(sizeof(struct header) == VIRTIO_NET_HEADER, "as on the wire");

static inline bool has(const struct virtio_net *net, uint64_t feature)
{
    return (net->dev.features & feature) != 0;
}

/* Moves frames from the switch to the guest. */
void virtio_net_receive(struct virtio_net *net);
