/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * When a guest that has ended is started again. One that lived for a minute starts at once; one that did not
 * waits for a second, and twice as long each further time, up to a minute: a guest that cannot live does not
 * keep the others from their work.
 */

#include <stdint.h>

#define BACKOFF_LONGEST 60u /* seconds, of a delay and of a life that is long enough */

struct backoff {
    uint32_t delay; /* seconds of the last delay; 0: none */
};

/* The guest has ended after `life` seconds: how many seconds it stays down. */
uint32_t backoff_ended(struct backoff *backoff, uint64_t life);
