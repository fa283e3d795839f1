/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* A device's registers of 32 bits. */

#include <stdint.h>

static inline volatile uint32_t *reg32(void *base, uint32_t offset)
{
    return (volatile uint32_t *)(void *)((uint8_t *)base + offset);
}
