/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Fuzzer of the switch behind its shared rings: VMMs that write anything into rings and pools. The switch
 * must keep count of who holds which frame, never hand out a frame twice under one ticket, and never stop for
 * good. It sleeps until a time that is still to come, or it would be woken again and again.
 */
#include "fuzz.h"
#define POOL_BYTES 4096u
#include "three_ports.h"

static void check(void)
{
    uint32_t held[PORTS] = {0};
    for (uint32_t p = 0; p < PORTS; p++) {
        for (uint32_t t = 0; t < NETQ_ENTRIES; t++) {
            for (uint32_t q = 0; q < PORTS; q++) {
                held[q] += (uint32_t)(forward.holders[p][t] >> q) & 1;
            }
            require((forward.holders[p][t] & (1ULL << p)) == 0); /* nobody receives its own frame */
        }
    }
    for (uint32_t q = 0; q < PORTS; q++) {
        require(held[q] == forward.held[q] && held[q] <= NETQ_ENTRIES);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left)
{
    memset(shared, 0, sizeof(shared));
    memset(pools, 0, sizeof(pools));
    /* So that something passes: broadcast to all that port 0 may talk to. */
    compose(0, -1);
    require(forward_init(&forward, &config, wires, 1000000) == NULL);
    uint64_t now = 0, each = 0; /* ticks, and what a frame takes the switch */
    while (left > 0) {
        uint8_t op = (uint8_t)take(&data, &left, 1);
        struct netq_port *port = &shared[(op >> 4) % PORTS];
        struct netq_frame frame = {.length = 60};
        switch (op & 0xf) {
        case 0:
        case 1: /* a well-formed frame under a ticket that may be out */
            frame.ticket = (uint16_t)take(&data, &left, 1);
            port->tx.entry[port->tx.head++ % NETQ_ENTRIES] = frame;
            break;
        case 2: { /* any entry */
            uint64_t rest = take(&data, &left, 8);
            frame.offset = (uint32_t)take(&data, &left, 2);
            frame.length = (uint32_t)take(&data, &left, 3);
            memcpy(&frame.owner, &rest, 8);
            port->tx.entry[port->tx.head++ % NETQ_ENTRIES] = frame;
            break;
        }
        case 3:
        case 4: /* returns what it was given, or something near */
            frame = port->rx.entry[port->rx.tail++ % NETQ_ENTRIES];
            frame.ticket ^= (uint16_t)(take(&data, &left, 1) & 3 & (op >> 6));
            port->rx_done.entry[port->rx_done.head++ % NETQ_ENTRIES] = frame;
            break;
        case 5:
            port->tx_done.tail = port->tx_done.head;
            break;
        case 6: { /* any index */
            uint32_t *index[4] = {&port->tx.head, &port->rx.tail, &port->rx_done.head, &port->tx_done.tail};
            *index[op >> 6] = (uint32_t)take(&data, &left, 4);
            break;
        }
        case 7:
            pools[(op >> 4) % PORTS][take(&data, &left, 2) % POOL_BYTES] = (uint8_t)take(&data, &left, 1);
            break;
        case 8:
            now += take(&data, &left, 2);
            break;
        case 9:
            each = take(&data, &left, 1);
            break;
        default:
            break;
        }
        forward_run_at(&forward, now, each);
        check();
    }
    return 0;
}
