/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the harnesses for the CBMC model checker (prove*.c) have in common. */

#include <stdbool.h>
#include <stdint.h>

uint64_t nondet_u64(void);
uint32_t nondet_u32(void);
uint16_t nondet_u16(void);
uint8_t nondet_u8(void);
bool nondet_bool(void);

#define ASSUME(condition) __CPROVER_assume(condition)
#define ASSERT(condition, text) __CPROVER_assert(condition, text)
/* Must fail: a proof whose assumptions nothing meets, or that never gets there, would hold as well. */
#ifndef PLANTED_BUG
#define REACHED() __CPROVER_assert(0, "REACHED")
#else
#define REACHED() (void)0
#endif
