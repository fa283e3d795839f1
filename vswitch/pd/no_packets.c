/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * In place of packets.c and of the vsock core, in a switch whose guests have network devices: a switch has no
 * code that it does not run. Nothing here is called, since its configuration has no vsock.
 */
#include "forward_parts.h"

const char *vsock_init(struct vsock_state *state, const struct vsock_config *config)
{
    (void)state;
    (void)config;
    return "this switch is built without vsock";
}

void packets_judge(struct forward *f, uint32_t port, uint64_t now)
{
    (void)f;
    (void)port;
    (void)now;
}

void packets_reset(struct forward *f)
{
    (void)f;
}

uint32_t packets_publish(const struct forward *f, struct tally *tally, uint32_t port)
{
    (void)f;
    (void)tally;
    (void)port;
    return 0;
}
