/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the switch does with frames and with vsock packets alike. */

#include "forward.h"
#include "tally.h"

/* docs/why/hostile-guests.md has the measurements behind these numbers. */
#define FORWARD_RECEIVER 32u             /* a receiver spends so many times what the switch does on a frame */
#define FORWARD_MORE_BYTES (32u * 1024u) /* as much again for so many bytes */

/* Charges a port so many times what the switch spends on a frame. */
void forward_charge(struct forward *f, uint32_t port, uint64_t now, uint32_t times);

/* The same for a frame that goes to these ports: its receivers' work as well, and for a question that of an
 * answer in advance, which is free of charge then. weight: small frames that it counts as for a receiver. */
void forward_charge_for(struct forward *f, uint32_t from, uint64_t now, struct vswitch_verdict verdict,
                        uint32_t weight);

/* Whether a VMM may send this frame: inside its pool, no longer than `longest`, under a ticket that is not in
 * use. */
bool forward_valid(const struct forward *f, uint32_t port, const struct netq_frame *frame, uint32_t longest);

/* Returns a frame to its owner. */
void forward_give_back(struct forward *f, uint32_t owner, uint16_t ticket);

bool forward_can_take(struct forward *f, uint32_t port);

/* Puts a frame into the rings of the ports `to` (bit set), each of which can take it. A RST of the switch's
 * own goes to `from` itself. */
void forward_deliver(struct forward *f, uint32_t from, uint64_t to, const struct netq_frame *frame);

/* packets.c: does with the entry in front of a port's ring what the core says about it: `to` of the front is
 * set if it is to be delivered. */
void packets_judge(struct forward *f, uint32_t port, uint64_t now);

/* Copies the counters of a port with a vsock device, and returns how many values it has. */
uint32_t packets_publish(const struct forward *f, struct tally *tally, uint32_t port);

/* Delivers the RSTs that ports are owed, as far as their rings have room. */
void packets_reset(struct forward *f);
