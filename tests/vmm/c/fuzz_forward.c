/*
 * Fuzzer of the switch behind its shared rings: monitors that write anything into rings and pools. The switch
 * must keep count of who holds which frame, never hand out a frame twice under one ticket, and never stop for
 * good.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "forward.h"

#define PORTS 3u

static const struct vswitch_port names[PORTS] = {{{2, 0, 10, 77, 0, 2}, 0x0a4d0002, "a"},
                                                 {{2, 0, 10, 77, 0, 3}, 0x0a4d0003, "b"},
                                                 {{2, 0, 10, 77, 0, 4}, 0x0a4d0004, "c"}};
static const struct vswitch_rule rules[2] = {{0, 1, VSWITCH_ICMP_ECHO, 0}, {0, 2, VSWITCH_TCP, 80}};
static const struct vswitch_config config = {names, rules, PORTS, 2, VSWITCH_FRAME_MAX};
static struct netq_port shared[PORTS];
static uint8_t pools[PORTS][4096];
static const struct forward_port wires[PORTS] = {
    {&shared[0], pools[0], 4096, 0}, {&shared[1], pools[1], 4096, 1}, {&shared[2], pools[2], 4096, 2}};
static struct forward forward;

static uint64_t take(const uint8_t **data, size_t *left, uint32_t bytes)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i<bytes && * left> 0; i++, (*left)--) {
        value |= (uint64_t) * (*data)++ << (8 * i);
    }
    return value;
}

static void require(int holds)
{
    if (!holds) {
        abort();
    }
}

static void check(void)
{
    uint32_t held[PORTS] = {0};
    for (uint32_t p = 0; p < PORTS; p++) {
        for (uint32_t t = 0; t < NETQ_ENTRIES; t++) {
            for (uint32_t q = 0; q < PORTS; q++) {
                held[q] += (forward.holders[p][t] >> q) & 1;
            }
            require((forward.holders[p][t] & (1ULL << p)) == 0); /* nobody receives its own frame */
        }
    }
    for (uint32_t q = 0; q < PORTS; q++) {
        require(held[q] == forward.held[q] && held[q] <= NETQ_ENTRIES);
    }
}

/* An ARP request of port 0 for port 1, so that something passes: broadcast to all that it may talk to. */
static void compose(uint8_t *f)
{
    memset(f, 0xff, 6);
    memcpy(f + 6, names[0].mac, 6);
    memcpy(f + 12, "\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10);
    memcpy(f + 22, names[0].mac, 6);
    memcpy(f + 28, "\x0a\x4d\x00\x02", 4);
    memcpy(f + 38, "\x0a\x4d\x00\x03", 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left)
{
    memset(shared, 0, sizeof(shared));
    memset(pools, 0, sizeof(pools));
    compose(pools[0]);
    require(forward_init(&forward, &config, wires) == NULL);
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
            pools[(op >> 4) % PORTS][take(&data, &left, 2) % 4096] = (uint8_t)take(&data, &left, 1);
            break;
        default:
            break;
        }
        forward_run(&forward);
        check();
    }
    return 0;
}
