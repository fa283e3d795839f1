/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Fuzzer of everything that a guest reaches through a vsock device: its registers, rings, descriptors and
 * buffers, and of what a lying switch writes into the shared rings. The input is a program of small steps.
 * Beside the sanitizers, it checks that nothing is written outside the guest's memory and our own pool, that
 * nothing that is given to the device is lost in it, that the switch hears of starts and stops in turn, and
 * that a reset always brings the device back.
 */
#include <string.h>

#include "fuzz.h"
#include "fuzz_virtio.h"
#include "virtio_vsock.h"

#define BASE 0x40000000ULL
#define STEP 0x1000u /* bytes of a queue */
#define BYTES 0x10000u
#define POOL NETQ_MIN_POOL_BYTES
#define PEER 3u

static uint8_t memory[BYTES + 128] __attribute__((aligned(4096)));
static uint8_t own_pool[POOL], other_pool[POOL];
static struct netq_port port;
static struct virtio_vsock vsock;
static uint64_t clock;
static bool honest, up; /* the switch has not lied; what it heard last */
static uint32_t seen;   /* entries of tx that it has looked at */
static const struct guest_ram ram = {BASE, BYTES, memory};

/* A chain of one descriptor on a queue of eight entries. */
static void give(uint32_t queue, uint64_t addr, uint32_t len, uint16_t flags)
{
    uint8_t *rings = memory + 0x1000 * queue;
    uint16_t index;
    memcpy(&index, rings + 0x402, 2);
    uint16_t slot = index % 8;
    memcpy(rings + 16 * slot, &addr, 8);
    memcpy(rings + 16 * slot + 8, &len, 4);
    memcpy(rings + 16 * slot + 12, &flags, 2);
    memcpy(rings + 0x404 + 2 * slot, &slot, 2);
    index++;
    memcpy(rings + 0x402, &index, 2);
}

static void run(void)
{
    virtio_vsock_send(&vsock);
    (void)virtio_vsock_finish(&vsock);
    for (; honest && seen != port.tx.head; seen++) {
        const struct netq_frame *entry = &port.tx.entry[seen % NETQ_ENTRIES];
        if (entry->length == 0) {
            require(entry->vsock.operation == (up ? NETQ_LINK_DOWN : NETQ_LINK_UP));
            up = !up;
        } else {
            require(up && entry->length >= VSOCK_HEADER && entry->length <= NETQ_PACKET_MAX);
            require(entry->offset <= POOL && entry->length <= POOL - entry->offset);
        }
    }
    require(!honest || port.rx_done.head == port.rx.tail); /* what was taken went back */
    require(!honest || vsock.counters.peer_errors == 0);
}

static void step(const uint8_t **data, size_t *left)
{
    uint8_t op = (uint8_t)take(data, left, 1);
    uint64_t offset;
    switch (op & 0x0f) {
    case 0:
        bring_up(&vsock.dev, VIRTIO_VSOCK_QUEUES, BASE, STEP, take(data, left, 5),
                 (uint16_t)(op & 0x80 ? 1u << (op >> 4 & 3) : 8u));
        break;
    case 1:
        offset = take(data, left, 2);
        virtio_mmio_write(&vsock.dev, offset & 0x3ff, 1u << (op >> 4 & 3), take(data, left, 4));
        break;
    case 2: /* any bytes */
    case 3: {
        uint32_t where = (uint32_t)take(data, left, 2) % BYTES & ~1u;
        uint64_t value = take(data, left, 2);
        memcpy(memory + where, &value, 2);
        break;
    }
    case 4: /* a receive buffer, a packet to send, an event buffer */
    case 5:
    case 6: {
        uint32_t len = (uint32_t)take(data, left, 2);
        give(op & 3u, BASE + 0x4000 + (op >> 4) * 0x100, len, op & 3u ? 0 : 2);
        break;
    }
    case 7:
        give(op >> 4 & 3u, BASE + take(data, left, 2), (uint32_t)take(data, left, 3),
             (uint16_t)take(data, left, 1));
        break;
    case 8: { /* an honest packet */
        uint32_t length = op & 0x10 ? (uint32_t)take(data, left, 2) : 0;
        struct netq_frame entry = {.length = length, .owner = op & 0x20 && !length ? NETQ_SWITCH : PEER};
        entry.vsock.operation = length ? VSOCK_RW : VSOCK_RST;
        entry.vsock.source_port = op >> 6;
        if (port.rx.head - port.rx_done.tail < NETQ_ENTRIES) {
            port.rx.entry[port.rx.head++ % NETQ_ENTRIES] = entry;
        }
        break;
    }
    case 9: { /* any entry */
        struct netq_ring *ring = op & 0x10 ? &port.tx_done : &port.rx;
        uint64_t rest = take(data, left, 8);
        struct netq_frame frame = {.offset = (uint32_t)take(data, left, 3),
                                   .length = (uint32_t)take(data, left, 3)};
        memcpy(&frame.owner, &rest, 8);
        ring->entry[ring->head++ % NETQ_ENTRIES] = frame;
        honest = false;
        break;
    }
    case 10: /* indices that make no sense */
        (op & 0x10 ? &port.rx : &port.tx_done)->head = (uint32_t)take(data, left, 4);
        (op & 0x10 ? &port.tx : &port.rx_done)->tail = (uint32_t)take(data, left, 4);
        honest = false;
        break;
    case 11: { /* time passes */
        clock += take(data, left, 3);
        if (virtio_vsock_deadline(&vsock, clock) <= clock) {
            virtio_vsock_due(&vsock, clock);
        }
        virtio_vsock_took(&vsock, clock % 4096);
        break;
    }
    case 12: /* a switch that returns everything */
        for (; port.tx.tail != port.tx.head && port.tx.head - port.tx.tail <= NETQ_ENTRIES; port.tx.tail++) {
            const struct netq_frame *entry = &port.tx.entry[port.tx.tail % NETQ_ENTRIES];
            if (entry->length != 0) {
                port.tx_done.entry[port.tx_done.head++ % NETQ_ENTRIES] = *entry;
            }
        }
        port.rx_done.tail = port.rx_done.head;
        break;
    case 13:
        (void)virtio_mmio_read(&vsock.dev, take(data, left, 2) & 0x3ff, 1u << (op >> 4 & 3));
        break;
    default:
        break;
    }
    run();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left)
{
    memset(memory, 0, sizeof(memory));
    memset(&port, 0, sizeof(port));
    clock = 0;
    seen = 0;
    honest = true;
    up = false;
    virtio_vsock_init(&vsock, &ram, 4, &port, own_pool, POOL, 1000000);
    vsock.source[PEER] = (struct virtio_vsock_source){other_pool, POOL, 3};
    bring_up(&vsock.dev, VIRTIO_VSOCK_QUEUES, BASE, STEP, 0, 8);
    for (int steps = 0; left > 0 && steps < 200; steps++) {
        step(&data, &left);
    }
    for (uint32_t i = 0; i < 128; i++) {
        require(memory[BYTES + i] == 0); /* something was written behind the guest's memory */
    }
    bring_up(&vsock.dev, VIRTIO_VSOCK_QUEUES, BASE, STEP, 0, 8);
    for (uint32_t n = 0; n < VIRTIO_VSOCK_QUEUES; n++) {
        require(virtio_live(&vsock.dev, n));
    }
    return 0;
}
