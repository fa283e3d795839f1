/* SPDX-License-Identifier: BSD-2-Clause */

/* What must hold after every decision, whatever the frame: used by the fuzzer and by the model checker's
 * harness. */
#ifndef INVARIANTS_H
#define INVARIANTS_H

#include "vswitch.h"

static uint64_t sum_of_drops(const struct vswitch_counters *counters)
{
    uint64_t sum = 0;
    for (uint32_t reason = 0; reason < VSWITCH_REASON_COUNT; reason++) {
        sum += counters->drops[reason];
    }
    return sum;
}

/*
 * What a receiver does with a frame that passes: it writes a checksum, or cuts the frame. Neither may change
 * what was judged: the checksum goes into the packet's own TCP or UDP header, and segments stay within the
 * limit.
 */
static const char *broken_offload(const struct vswitch_config *config, const uint8_t *frame, size_t length,
                                  const struct vswitch_offload *offload)
{
    bool segmented = offload->gso_type != 0;
    if (length > config->frame_max && !segmented) {
        return "a frame is no longer than the limit, unless it is segmented";
    }
    if (offload->flags == 0) {
        return offload->csum_start || offload->csum_offset || offload->hdr_len || offload->gso_size ||
                       segmented
                   ? "without a checksum request there is no other"
                   : 0;
    }
    bool tcp = frame[23] == 6;
    if (offload->flags != 1 || frame[12] != 8 || frame[13] != 0 || frame[14] != 0x45 ||
        (!tcp && frame[23] != 17)) {
        return "only TCP and UDP over IPv4 have checksums to be completed";
    }
    if (offload->csum_start != 34 || offload->csum_offset != (tcp ? 16 : 6)) {
        return "the checksum is completed in its own field";
    }
    if (!segmented) {
        return offload->hdr_len || offload->gso_size ? "an unsegmented frame has no sizes of segments" : 0;
    }
    uint32_t headers = 34u + (frame[46] >> 4) * 4u;
    if (offload->gso_type != 1 || !tcp) {
        return "only TCP over IPv4 is segmented";
    }
    if (offload->hdr_len != headers || headers > length || offload->gso_size < 8 ||
        headers + offload->gso_size > config->frame_max || length - headers > 133u * offload->gso_size) {
        return "segments have the frame's own headers, and stay within the limits";
    }
    return 0;
}

/* `before` holds the counters of `in_port` as they were. NULL, or the promise that was broken. */
static const char *broken_promise(const struct vswitch_config *config, const struct vswitch_state *state,
                                  const struct vswitch_counters *before, uint32_t in_port,
                                  const uint8_t *frame, size_t length, const struct vswitch_offload *offload,
                                  struct vswitch_verdict verdict)
{
    if ((verdict.ports == 0) == (verdict.reason == VSWITCH_PASS)) {
        return "a frame is delivered if and only if there is no reason against it";
    }
    if (verdict.asks && verdict.ports == 0) {
        return "what is dropped asks nothing";
    }
    if (in_port >= config->port_count) {
        return verdict.reason == VSWITCH_NO_PORT ? 0 : "a port that does not exist sends nothing";
    }
    const struct vswitch_counters *after = &state->counters[in_port];
    if (verdict.ports >> config->port_count) {
        return "only ports that exist are delivered to";
    }
    if (verdict.ports & 1ull << in_port) {
        return "nothing goes back to its sender";
    }
    if (verdict.ports & ~state->peers[in_port]) {
        return "only ports that share a rule with the sender are delivered to";
    }
    if (verdict.ports & ~state->up) {
        return "only ports that are up are delivered to";
    }
    if (verdict.ports && (length < 34 || length > VSWITCH_FRAME_MAX)) {
        return "a delivered frame holds at least an IPv4 header, and at most 64 KiB behind Ethernet's";
    }
    const char *broken = verdict.ports ? broken_offload(config, frame, length, offload) : 0;
    if (broken) {
        return broken;
    }
    if (after->rx_frames != before->rx_frames + 1 || after->rx_bytes != before->rx_bytes + length) {
        return "every frame is counted as received";
    }
    if (sum_of_drops(after) != sum_of_drops(before) + (verdict.reason != VSWITCH_PASS)) {
        return "every drop is counted once";
    }
    return 0;
}

#endif
