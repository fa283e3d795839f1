/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Fuzzer of everything that a guest reaches through virtio: registers of a network device and a console,
 * rings, descriptors and buffers in its memory, and of what a lying switch or console writes into the shared
 * rings. The input is a program of small steps. Beside the sanitizers, it checks that nothing is written
 * outside the guest's memory and our own pool, and that a reset always brings the device back.
 */
#include "fuzz.h"
#include "fuzz_virtio.h"
#include "virtio_console.h"
#include "virtio_net.h"

#define BASE 0x40000000ULL
#define STEP 0x1000u /* bytes of a queue */
#define BYTES 0x8000u
#define POOL NETQ_MIN_POOL_BYTES

static uint8_t memory[BYTES + 128] __attribute__((aligned(4096)));
static uint8_t own_pool[POOL], other_pool[POOL];
static struct netq_port port;
static struct charq_port line;
static struct virtio_net net;
static uint64_t clock;
static struct virtio_console console;
static const struct guest_ram ram = {BASE, BYTES, memory};

static void step(const uint8_t **data, size_t *left)
{
    uint8_t op = (uint8_t)take(data, left, 1);
    struct virtio_device *dev = op & 0x80 ? &console.dev : &net.dev;
    uint64_t offset;
    switch (op & 0x0f) {
    case 0:
        bring_up(dev, 2, BASE, STEP, take(data, left, 5), (uint16_t)(1u << (op >> 4 & 3)));
        break;
    case 1:
        offset = take(data, left, 2);
        virtio_mmio_write(dev, offset & 0x3ff, 1u << (op >> 4 & 3), take(data, left, 4));
        break;
    case 2:
        offset = take(data, left, 2);
        virtio_mmio_read(dev, offset & 0x3ff, 1u << (op >> 4 & 3));
        break;
    case 3: /* a descriptor */
    case 4: {
        uint32_t where = (uint32_t)take(data, left, 2) % BYTES & ~15u;
        uint64_t addr = BASE + take(data, left, 2);
        uint32_t len = (uint32_t)take(data, left, 2);
        uint32_t rest = (uint32_t)take(data, left, 2);
        uint16_t flags = rest & 7, next = (uint16_t)(rest >> 8);
        memcpy(memory + where, &addr, 8);
        memcpy(memory + where + 8, &len, 4);
        memcpy(memory + where + 12, &flags, 2);
        memcpy(memory + where + 14, &next, 2);
        break;
    }
    case 5: /* any bytes */
    case 6: {
        uint32_t where = (uint32_t)take(data, left, 2) % BYTES & ~1u;
        uint64_t value = take(data, left, 2);
        memcpy(memory + where, &value, 2);
        break;
    }
    case 7: { /* one more available chain on a queue */
        uint32_t where = 0x1000 * (op >> 4 & 1u) + 0x400 + 2;
        uint16_t index;
        memcpy(&index, memory + where, 2);
        index++;
        memcpy(memory + where, &index, 2);
        break;
    }
    case 8: { /* an entry from the switch */
        struct netq_frame frame = {.offset = (uint32_t)take(data, left, 3),
                                   .length = (uint32_t)take(data, left, 3)};
        uint64_t rest = take(data, left, 8);
        memcpy(&frame.owner, &rest, 8);
        frame.owner %= 8;
        struct netq_ring *ring = op & 0x10 ? &port.tx_done : &port.rx;
        ring->entry[ring->head % NETQ_ENTRIES] = frame;
        ring->head++;
        break;
    }
    case 9: /* indices that make no sense */
        (op & 0x10 ? &port.rx : &port.tx_done)->head = (uint32_t)take(data, left, 4);
        (op & 0x10 ? &port.tx : &port.rx_done)->tail = (uint32_t)take(data, left, 4);
        line.in.head = (uint32_t)take(data, left, 2);
        line.out.tail = (uint32_t)take(data, left, 2);
        break;
    case 10: /* time passes */
        clock += take(data, left, 2);
        if (virtio_net_deadline(&net, clock) <= clock) {
            virtio_net_due(&net, clock);
        }
        virtio_net_took(&net, clock % 4096);
        break;
    case 11: /* a switch that returns everything */
        port.tx_done.tail = port.tx_done.head;
        while (port.tx.tail != port.tx.head && port.tx.head - port.tx.tail <= NETQ_ENTRIES) {
            port.tx_done.entry[port.tx_done.head++ % NETQ_ENTRIES] =
                port.tx.entry[port.tx.tail++ % NETQ_ENTRIES];
        }
        port.rx_done.tail = port.rx_done.head;
        break;
    default:
        break;
    }
    virtio_net_run(&net);
    virtio_console_run(&console);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    memset(memory, 0, sizeof(memory));
    memset(&port, 0, sizeof(port));
    memset(&line, 0, sizeof(line));
    clock = 0;
    virtio_net_init(&net, &ram, mac, 1500, &port, own_pool, POOL, 1000000);
    net.source[3] = (struct virtio_net_source){other_pool, POOL};
    virtio_console_init(&console, &ram, &line);
    for (int steps = 0; left > 0 && steps < 200; steps++) {
        step(&data, &left);
    }
    for (uint32_t i = 0; i < 128; i++) {
        if (memory[BYTES + i] != 0) {
            abort(); /* something was written behind the guest's memory */
        }
    }
    bring_up(&net.dev, 2, BASE, STEP, 0, 8);
    if (!virtio_live(&net.dev, 0) || !virtio_live(&net.dev, 1)) {
        abort(); /* a reset did not help */
    }
    return 0;
}
