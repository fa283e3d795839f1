/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * An account of time that one guest takes from the others. What is taken is owed; time itself pays back, at a
 * fraction of its own pace. So a guest may take a little at once, and that fraction in the long run.
 */

#include <stdint.h>

struct account {
    uint64_t limit; /* ticks that may be owed */
    uint64_t owed;
    uint64_t at;   /* counter value up to which time has paid */
    uint32_t part; /* one tick in so many pays */
};

void account_init(struct account *account, uint64_t limit, uint32_t part);

/* Something was taken from `start` to `end`, of which no more than the limit counts. */
void account_charge(struct account *account, uint64_t start, uint64_t end);

/* Pays some ticks back at once. */
void account_credit(struct account *account, uint64_t ticks);

/* What may still be taken at `now`, in ticks. */
uint64_t account_left(struct account *account, uint64_t now);

/* The counter value at which no more than `owed` is owed. */
uint64_t account_due(const struct account *account, uint64_t owed);
