/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Accounting for the time that a guest takes from others: a leaky bucket. Charges add to the debt; elapsed
 * time repays it at a fixed fraction. A guest may take up to `limit` in a burst, and that fraction of the
 * time in the long run.
 */

#include <stdint.h>

struct account {
    uint64_t limit; /* maximum debt, in ticks */
    uint64_t owed;
    uint64_t at;   /* counter value of the last repayment */
    uint32_t part; /* one tick in `part` is repaid */
};

void account_init(struct account *account, uint64_t limit, uint32_t part);

/* Charges the ticks from `start` to `end`, at most the limit. */
void account_charge(struct account *account, uint64_t start, uint64_t end);

/* Repays some ticks at once. */
void account_credit(struct account *account, uint64_t ticks);

/* Ticks that may still be taken at `now`. */
uint64_t account_left(struct account *account, uint64_t now);

/* The counter value at which the debt will have fallen to `owed`. */
uint64_t account_due(const struct account *account, uint64_t owed);
