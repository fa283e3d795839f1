/* SPDX-License-Identifier: BSD-2-Clause */

/* Queues of the vsock device that break the rules of virtqueues (virtio 1.2, 2.7), one at a time. */
#ifndef HOSTILE_VSOCK_RINGS_H
#define HOSTILE_VSOCK_RINGS_H

#include "hostile_vsock.h"

/* A transmit or receive queue that breaks one rule; the other one is as it should be. False: none of this
 * number. Of the receive queue the device learns when there is a packet for us, the refusal of a request. */
static inline bool break_queue(uint32_t queue, uint32_t rule)
{
    uint16_t own = queue == RX ? 2 : 0; /* WRITE */
    struct descriptor first = {EVENTS, 64, own, 0}, second = {EVENTS, 64, own, 0};
    uint16_t head = 0;
    enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };
    start_device(VSOCK, VSOCK_RINGS, vsock, 3);
    switch (rule) {
    case 0: /* a loop */
        first.flags |= NEXT;
        break;
    case 1:
        first.address = 0;
        break;
    case 2: /* another guest's memory, which ends where ours begins */
        first.address = RAM_BASE - 64;
        break;
    case 3:
        first.address = RAM_BASE + RAM_SIZE - 63;
        break;
    case 4:
        first.length = 0xffffffff;
        break;
    case 5:
        first.address = ~0ULL - 31;
        break;
    case 6:
        first.flags |= NEXT;
        first.next = 0xffff;
        break;
    case 7: /* what is read after what is written */
        first.flags = WRITE | NEXT;
        first.next = 1;
        second.flags = 0;
        break;
    case 8: /* not negotiated */
        first.flags |= INDIRECT;
        break;
    case 9:
        head = ENTRIES;
        break;
    case 10: /* more than there are entries */
        vsock[queue].given = 0x8000;
        break;
    default:
        return false;
    }
    set_descriptor(&vsock[queue], 0, first);
    set_descriptor(&vsock[queue], 1, second);
    give(&vsock[queue], head);
    ring_the_doorbell(&vsock[queue]);
    if (queue == RX) {
        struct header header = header_to(CLIENT_CID, USBIP_PORT, 7000 + rule, REQUEST);
        send(&header, 0, false);
    }
    return true;
}

/* Each makes the device ask for a reset. Chains too short for a packet do not: they are dropped. */
static inline void break_queues(void)
{
    enum { NEEDS_RESET = 0x40 };
    uint32_t broken = 0, noticed = 0, taken = 0;
    for (uint32_t queue = RX; queue <= TX; queue++) {
        for (uint32_t rule = 0; break_queue(queue, rule); rule++) {
            broken++;
            uint64_t end = now() + ANSWER_SECONDS * hertz();
            while (!(get(VSOCK, 0x70) & NEEDS_RESET) && now() < end) {
            }
            noticed += (get(VSOCK, 0x70) & NEEDS_RESET) != 0;
        }
    }
    start_vsock();
    for (uint32_t length = 0; length < HEADER; length += HEADER - 1) {
        set_descriptor(&vsock[TX], 0, (struct descriptor){PACKET, length, 0, 0});
        give(&vsock[TX], 0);
        ring_the_doorbell(&vsock[TX]);
        taken += used_by_device(&vsock[TX]) == vsock[TX].given;
    }
    say_number("hostile: broken queues ", broken, "");
    say_number(" noticed ", noticed, "");
    say_number(" short packets taken ", taken, "\n");
}

#endif
