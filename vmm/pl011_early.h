/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * As much of a PL011 as an early console writes to (ARM DDI 0183): the data register takes bytes, the flag
 * register says that the transmitter is empty, everything else reads as zero. No receiver, no interrupt.
 */

#include <stdbool.h>
#include <stdint.h>

#define PL011_LENGTH 0x1000u

/* Answers a load. */
uint64_t pl011_early_read(uint64_t offset, uint32_t size);

/* True when a store sends a byte, which is then in *byte. */
bool pl011_early_write(uint64_t offset, uint32_t size, uint64_t value, uint8_t *byte);
