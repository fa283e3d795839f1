/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * A virtio console with one port and no configuration (virtio 1.2, 5.3, without VIRTIO_CONSOLE_F_MULTIPORT),
 * whose other side is a pair of byte rings shared with the console.
 */

#include "charq.h"
#include "virtio_mmio.h"

#define VIRTIO_ID_CONSOLE 3u
/* Bytes of the output ring reserved for the VMM's own lines (about four), which a flooding guest cannot fill.
 */
#define VIRTIO_CONSOLE_KEEP 512u

enum virtio_console_queue { VIRTIO_CONSOLE_RX, VIRTIO_CONSOLE_TX };

struct virtio_console {
    struct virtio_device dev;
    struct charq_end out; /* from the guest */
    struct charq_end in;  /* to the guest */
    uint32_t tx_offset;   /* bytes of the chain at the front that have gone out already */
};

void virtio_console_init(struct virtio_console *console, const struct guest_ram *ram,
                         struct charq_port *port);

/* Moves what can be moved in both directions. True when the console has to be notified. */
bool virtio_console_run(struct virtio_console *console);
