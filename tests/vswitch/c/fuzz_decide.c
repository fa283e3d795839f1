/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * libFuzzer harness. Input: port, ports that are down, length (3 bytes, little end first), offload metadata
 * (10 bytes, in the order of virtio_net_hdr), then the frame's head. The head lies in a heap block of its own
 * size, so that reading anything behind the first VSWITCH_HEAD bytes is an error too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "invariants.h"

#define PREFIX 15u

/* The same four guests and rules as in the unit tests, so that their frames are a useful corpus. */
static const struct vswitch_port ports[] = {
    {{0x02, 0, 0x0a, 0x4d, 0, 2}, 0x0a4d0002, "server"},
    {{0x02, 0, 0x0a, 0x4d, 0, 3}, 0x0a4d0003, "client"},
    {{0x02, 0, 0x0a, 0x4d, 0, 4}, 0x0a4d0004, "other"},
    {{0x02, 0, 0x0a, 0x4d, 0, 5}, 0x0a4d0005, "lonely"},
};
static const struct vswitch_rule rules[] = {
    {0, 2, VSWITCH_UDP, 53},
    {1, 0, VSWITCH_TCP, 3240},
    {1, 0, VSWITCH_ICMP_ECHO, 0},
    {2, 0, VSWITCH_TCP, 3240},
};
static const struct vswitch_config config = {ports, rules, 4, 4, 1514};
static struct vswitch_state state;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (size < PREFIX) {
        return 0;
    }
    if (!ready && vswitch_init(&state, &config) != NULL) {
        abort();
    }
    ready = true;
    uint32_t in_port = data[0] % 6u;
    size_t length = data[2] | (size_t)data[3] << 8 | (size_t)(data[4] & 1) << 16;
    size_t head = size - PREFIX;
    if (head < VSWITCH_HEAD && length > head) {
        length = head;
    }
    size_t present = length < VSWITCH_HEAD ? length : VSWITCH_HEAD;
    uint8_t *frame = malloc(present);
    if (!frame) {
        abort();
    }
    memcpy(frame, data + PREFIX, present);
    for (uint32_t port = 0; port < config.port_count; port++) {
        vswitch_set_link(&state, port, !(data[1] >> port & 1));
    }
    struct vswitch_offload offload;
    _Static_assert(sizeof(offload) == 10, "the bytes of the input");
    memcpy(&offload, data + 5, sizeof(offload));
    struct vswitch_counters before = {0};
    if (in_port < config.port_count) {
        before = state.counters[in_port];
    }
    struct vswitch_verdict verdict = vswitch_decide(&config, &state, in_port, frame, length, &offload);
    const char *broken = broken_promise(&config, &state, &before, in_port, frame, length, &offload, verdict);
    if (broken) {
        fprintf(stderr, "broken: %s (reason %s)\n", broken, vswitch_reason_name(verdict.reason));
        abort();
    }
    free(frame);
    return 0;
}
