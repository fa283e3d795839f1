/* SPDX-License-Identifier: BSD-2-Clause */

/* Numbers as they stand on the wire, highest byte first. Internal to the core. */
#ifndef VSWITCH_WIRE_H
#define VSWITCH_WIRE_H

#include "vswitch.h"

/* The lowest bit of a MAC's first byte. */
#define MAC_GROUP (1ull << 40)

static inline uint16_t be16(const uint8_t *bytes)
{
    return (uint16_t)((uint32_t)bytes[0] << 8 | bytes[1]);
}

static inline uint32_t be32(const uint8_t *bytes)
{
    return (uint32_t)be16(bytes) << 16 | be16(bytes + 2);
}

static inline uint64_t be48(const uint8_t *bytes)
{
    return (uint64_t)be16(bytes) << 32 | be32(bytes + 2);
}

static inline uint64_t bit(uint32_t port)
{
    return 1ull << port;
}

#endif
