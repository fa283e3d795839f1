/* SPDX-License-Identifier: BSD-2-Clause */
#include "publish.h"

#include "forward_parts.h"

_Static_assert(TALLY_DROPS + VSWITCH_REASON_COUNT <= TALLY_VALUES, "a port's counters have room");

static uint32_t put_frames(const struct forward *f, struct tally *tally, uint32_t port)
{
    const struct vswitch_counters *counters = &f->state.counters[port];
    tally_put(tally, port, TALLY_RX_FRAMES, counters->rx_frames);
    tally_put(tally, port, TALLY_RX_BYTES, counters->rx_bytes);
    tally_put(tally, port, TALLY_TX_FRAMES, counters->tx_frames);
    tally_put(tally, port, TALLY_TX_BYTES, counters->tx_bytes);
    tally_put(tally, port, TALLY_CONNECTED, (f->state.up >> port) & 1);
    for (uint32_t reason = 0; reason < VSWITCH_REASON_COUNT; reason++) {
        tally_put(tally, port, TALLY_DROPS + reason, counters->drops[reason]);
    }
    return TALLY_DROPS + VSWITCH_REASON_COUNT;
}

void publish(const struct forward *f, struct tally *tally)
{
    uint32_t values = 0;
    tally_begin(tally);
    for (uint32_t port = 0; port < f->port_count && port < TALLY_PORTS; port++) {
        tally_put(tally, port, TALLY_BREACHES, f->breaches[port]);
        values = f->vsock != NULL ? packets_publish(f, tally, port) : put_frames(f, tally, port);
    }
    __atomic_store_n(&tally->values, values, __ATOMIC_RELAXED);
    __atomic_store_n(&tally->kind, f->vsock != NULL ? TALLY_PACKETS : TALLY_FRAMES, __ATOMIC_RELAXED);
    tally_end(tally);
}
