/* SPDX-License-Identifier: BSD-2-Clause */
#include "account.h"

#include "freestanding.h"

void account_init(struct account *account, uint64_t limit, uint32_t part)
{
    *account = (struct account){.limit = limit, .part = part};
}

/* The remainder of the division stays to be paid, so that many short steps pay as much as one long one. */
static void pay(struct account *account, uint64_t now)
{
    if (now > account->at) {
        uint64_t paid = (now - account->at) / account->part;
        account->at = paid < account->owed ? account->at + paid * account->part : now;
        account->owed -= min_u64(account->owed, paid);
    }
}

void account_charge(struct account *account, uint64_t start, uint64_t end)
{
    pay(account, end);
    uint64_t cost = end > start ? end - start : 0;
    account->owed = min_u64(account->owed + min_u64(cost, account->limit), 2 * account->limit);
}

void account_credit(struct account *account, uint64_t ticks)
{
    account->owed -= min_u64(account->owed, ticks);
}

uint64_t account_left(struct account *account, uint64_t now)
{
    pay(account, now);
    return account->limit - min_u64(account->limit, account->owed);
}

uint64_t account_due(const struct account *account, uint64_t owed)
{
    return account->owed > owed ? account->at + (account->owed - owed) * account->part : account->at;
}
