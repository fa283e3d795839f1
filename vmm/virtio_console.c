/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtio_console.h"

static bool run_tx(struct virtio_console *console)
{
    struct virtq *q = &console->dev.queue[VIRTIO_CONSOLE_TX];
    struct virtq_chain chain;
    uint8_t bytes[256];
    bool wrote = false;
    if (!virtio_live(&console->dev, VIRTIO_CONSOLE_TX)) {
        return false;
    }
    virtq_mute(q);
    do {
        while (virtq_peek(q, &chain) == VIRTQ_CHAIN) {
            while (console->tx_offset < chain.readable_len) {
                uint32_t n = virtq_copy_out(&chain, console->tx_offset, bytes, sizeof(bytes));
                uint32_t done = charq_write(&console->out, bytes, n);
                wrote = wrote || done != 0;
                console->tx_offset += done;
                if (done < n && !charq_await_room(&console->out)) {
                    virtio_settle(&console->dev, VIRTIO_CONSOLE_TX);
                    return wrote; /* the rest waits in the guest's queue */
                }
            }
            console->tx_offset = 0;
            virtq_put_used(q, 0, chain.head, 0);
            virtq_advance(q);
            virtq_publish(q, 1);
        }
    } while (!q->broken && virtq_listen(q));
    virtio_settle(&console->dev, VIRTIO_CONSOLE_TX);
    return wrote;
}

static bool run_rx(struct virtio_console *console)
{
    struct virtq *q = &console->dev.queue[VIRTIO_CONSOLE_RX];
    struct virtq_chain chain;
    uint8_t bytes[256];
    if (!virtio_live(&console->dev, VIRTIO_CONSOLE_RX)) {
        return false;
    }
    bool waiting = true;
    while (waiting) {
        bool buffers = virtq_peek(q, &chain) == VIRTQ_CHAIN;
        if (!buffers) {
            /* Input stays in the ring until the guest gives a buffer and rings. */
            waiting = virtq_listen(q) && !q->broken;
            continue;
        }
        uint32_t room = (uint32_t)min_u64(chain.writable_len, sizeof(bytes));
        uint32_t n = charq_read(&console->in, bytes, room);
        if (n == 0) {
            break;
        }
        virtq_copy_in(&chain, 0, bytes, n);
        virtq_put_used(q, 0, chain.head, n);
        virtq_advance(q);
        virtq_publish(q, 1);
    }
    virtio_settle(&console->dev, VIRTIO_CONSOLE_RX);
    return charq_made_room(&console->in);
}

bool virtio_console_run(struct virtio_console *console)
{
    bool wake = run_tx(console);
    return run_rx(console) || wake;
}

static void on_notify(struct virtio_device *dev, uint32_t queue)
{
    (void)dev;
    (void)queue; /* the caller runs the device after every access */
}

static void on_reset(struct virtio_device *dev)
{
    struct virtio_console *console = dev->owner;
    console->tx_offset = 0;
}

static const struct virtio_ops ops = {.notify = on_notify, .reset = on_reset};

void virtio_console_init(struct virtio_console *console, const struct guest_ram *ram, struct charq_port *port)
{
    memset(console, 0, sizeof(*console));
    charq_attach(&console->out, &port->out, port->out_bytes, CHARQ_OUT_BYTES);
    charq_attach(&console->in, &port->in, port->in_bytes, CHARQ_IN_BYTES);
    console->out.keep = VIRTIO_CONSOLE_KEEP;
    virtio_init(&console->dev, &ops, console, ram, VIRTIO_ID_CONSOLE, 2, 0, NULL, 0);
}
