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

/* `before` holds the counters of `in_port` as they were. NULL, or the promise that was broken. */
static const char *broken_promise(const struct vswitch_config *config, const struct vswitch_state *state,
                                  const struct vswitch_counters *before, uint32_t in_port, size_t length,
                                  struct vswitch_verdict verdict)
{
    if ((verdict.ports == 0) == (verdict.reason == VSWITCH_PASS)) {
        return "a frame is delivered if and only if there is no reason against it";
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
    if (verdict.ports && (length < 34 || length > config->frame_max)) {
        return "a delivered frame holds at least an IPv4 header, and at most the limit";
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
