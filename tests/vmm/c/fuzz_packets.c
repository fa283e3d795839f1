/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Fuzzer of the switch of vsock packets behind its shared rings: VMMs that write anything into rings and
 * pools. The switch must keep count of who holds which packet and how many RSTs, deliver only what its core
 * has let pass, never hand out a packet twice under one ticket, and never stop for good.
 */
#include <string.h>

#include "../../vswitch/c/vsock_invariants.h"
#include "forward.h"
#include "fuzz.h"

#define PORTS 3u
#define POOL_BYTES 4096u
#define PLACES 16u /* packets in a pool */

static const struct vsock_port ports[PORTS] = {{3, "server"}, {4, "client"}, {5, "other"}};
static const struct vsock_rule rules[] = {{1, 0, 3240}, {2, 0, 3240}, {0, 1, 99}};
static const struct vsock_config config = {ports, rules, PORTS, 3};
static struct vsock_state state;
static struct netq_port shared[PORTS];
static uint8_t pools[PORTS][POOL_BYTES];
static const struct forward_port wires[PORTS] = {{&shared[0], pools[0], POOL_BYTES, 0},
                                                 {&shared[1], pools[1], POOL_BYTES, 1},
                                                 {&shared[2], pools[2], POOL_BYTES, 2}};
static struct forward forward;
static uint32_t seen[PORTS]; /* entries of rx that were looked at */

/* What has been delivered: only from a port that some rule pairs with this one, and what the core knows. */
static void look(uint32_t to)
{
    for (; seen[to] != shared[to].rx.head; seen[to]++) {
        const struct netq_frame *entry = &shared[to].rx.entry[seen[to] % NETQ_ENTRIES];
        require(entry->vsock.operation >= VSOCK_REQUEST && entry->vsock.operation <= VSOCK_CREDIT_REQUEST);
        require((entry->vsock.operation == VSOCK_RW) == (entry->length > 0));
        if (entry->owner == NETQ_SWITCH) {
            require(entry->vsock.operation == VSOCK_RST && entry->length == 0);
            continue;
        }
        require(entry->owner < PORTS && entry->owner != to && (entry->owner == 0 || to == 0));
        require(entry->vsock.type == VSOCK_STREAM);
        require(entry->offset <= POOL_BYTES && entry->length <= POOL_BYTES - entry->offset);
        require(entry->vsock.operation != VSOCK_REQUEST ||
                is_allowed(&config, entry->owner, to, entry->vsock.destination_port));
    }
}

static void check(void)
{
    uint32_t held[PORTS] = {0};
    for (uint32_t p = 0; p < PORTS; p++) {
        look(p);
        held[p] += forward.resets[p];
        for (uint32_t t = 0; t < NETQ_ENTRIES; t++) {
            for (uint32_t q = 0; q < PORTS; q++) {
                held[q] += (uint32_t)(forward.holders[p][t] >> q) & 1;
            }
            require((forward.holders[p][t] & (1ULL << p)) == 0); /* nobody receives its own packet */
        }
    }
    for (uint32_t q = 0; q < PORTS; q++) {
        require(held[q] == forward.held[q] && held[q] <= NETQ_ENTRIES);
    }
    require(broken_state(&config, &state) == NULL);
}

static void put(uint32_t from, struct netq_frame entry)
{
    struct netq_ring *ring = &shared[from].tx;
    ring->entry[ring->head++ % NETQ_ENTRIES] = entry;
}

/* Mostly one of a few values, so that packets meet. */
static uint32_t choose(uint32_t bits, const uint32_t *few)
{
    return few[bits & 3];
}

/* A packet that may belong to a connection. */
static void packet(uint32_t from, const uint8_t **data, size_t *left)
{
    static const uint32_t names[] = {3240, 1024, 99, 3240}, lengths[] = {0, 1, 48, 200};
    uint32_t bits = (uint32_t)take(data, left, 2);
    uint32_t length = choose(bits >> 10, lengths);
    struct vsock_header header = {.source_cid = 3 + from,
                                  .destination_cid = 3 + (bits & 3),
                                  .source_port = choose(bits >> 2, names),
                                  .destination_port = choose(bits >> 4, names),
                                  .type = VSOCK_STREAM,
                                  .operation = bits >> 6 & 7,
                                  .flags = bits >> 14,
                                  .buf_alloc = 4096};
    header.length = header.operation == VSOCK_RW ? length : 0;
    uint32_t ticket = (uint32_t)take(data, left, 1) % PLACES;
    vsock_write(pools[from] + ticket * (POOL_BYTES / PLACES), &header);
    put(from, (struct netq_frame){.offset = ticket * (POOL_BYTES / PLACES),
                                  .length = VSOCK_HEADER + header.length,
                                  .ticket = (uint16_t)ticket});
}

static void step(uint8_t op, const uint8_t **data, size_t *left)
{
    uint32_t at = (op >> 4) % PORTS;
    struct netq_port *port = &shared[at];
    struct netq_frame frame = {.length = 0};
    switch (op & 0xf) {
    case 0:
    case 1:
    case 2:
        packet(at, data, left);
        break;
    case 3: { /* any entry */
        uint64_t rest = take(data, left, 8);
        frame.offset = (uint32_t)take(data, left, 2);
        frame.length = (uint32_t)take(data, left, 3);
        memcpy(&frame.owner, &rest, 8);
        put(at, frame);
        break;
    }
    case 4:
        frame.vsock.operation = op & 0x80 ? NETQ_LINK_DOWN : NETQ_LINK_UP;
        put(at, frame);
        break;
    case 5:
    case 6: /* returns what it was given, or something near */
        frame = port->rx.entry[port->rx.tail++ % NETQ_ENTRIES];
        frame.ticket ^= (uint16_t)(take(data, left, 1) & 3 & (op >> 6));
        port->rx_done.entry[port->rx_done.head++ % NETQ_ENTRIES] = frame;
        break;
    case 7:
        port->tx_done.tail = port->tx_done.head;
        break;
    case 8: { /* any index */
        uint32_t *index[3] = {&port->tx.head, &port->rx_done.head, &port->tx_done.tail};
        *index[(op >> 6) % 3] = (uint32_t)take(data, left, 4);
        break;
    }
    case 9:
        pools[at][take(data, left, 2) % POOL_BYTES] = (uint8_t)take(data, left, 1);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left)
{
    memset(shared, 0, sizeof(shared));
    memset(pools, 0, sizeof(pools));
    memset(seen, 0, sizeof(seen));
    require(forward_init_vsock(&forward, &config, &state, wires, 1000000) == NULL);
    for (uint32_t p = 0; p < PORTS; p++) {
        put(p, (struct netq_frame){.vsock = {.operation = NETQ_LINK_UP}});
    }
    uint64_t now = 0, wake;
    while (left > 0) {
        uint8_t op = (uint8_t)take(&data, &left, 1);
        step(op, &data, &left);
        now += op & 0xf ? 0 : 100;
        uint32_t passes = 0;
        while (forward_pass(&forward, now, &wake)) {
            forward_took(&forward, 0);
            require(passes++ < 64);
        }
        check();
    }
    return 0;
}
