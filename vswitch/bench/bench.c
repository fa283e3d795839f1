/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * How fast the core decides, compared with a memcpy of the same bytes: one row a line,
 *     WHAT PORTS FRAME_BYTES FRAMES SECONDS
 * WHAT is `decide` (the core alone, as when buffers change hands) or `memcpy` (what one copy of the frames
 * would cost).
 *
 * The frames lie in a block that is larger than the processor's caches, one behind the other, and are taken
 * in order, as they come from a ring of receive buffers. Each figure is the fastest of several rounds: others
 * only disturb.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../core/vswitch.h"

#define BLOCK (256u << 20)
#define ROUNDS 7

static struct vswitch_port ports[VSWITCH_MAX_PORTS];
static struct vswitch_rule rules[VSWITCH_MAX_PORTS];
static struct vswitch_state state;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Every port may reach port 0 by TCP 3240. */
static struct vswitch_config configure(uint32_t count)
{
    for (uint32_t port = 0; port < count; port++) {
        const uint8_t mac[6] = {0x02, 0, 10, 77, 0, (uint8_t)(port + 1)};
        memcpy(ports[port].mac, mac, sizeof(mac));
        ports[port].ipv4 = 0x0a4d0001u + port;
        ports[port].name = "guest";
        if (port > 0) {
            rules[port - 1] = (struct vswitch_rule){(uint8_t)port, 0, VSWITCH_TCP, 3240};
        }
    }
    return (struct vswitch_config){ports, rules, count, count - 1, VSWITCH_FRAME_MAX};
}

/* TCP from one port to another: from `in` with destination port 3240, or from port 0 with it as the source.
 */
static void make_frame(uint8_t *frame, uint32_t length, uint32_t in, uint32_t out)
{
    const uint32_t addresses[2] = {ports[in].ipv4, ports[out].ipv4};
    uint8_t *ipv4 = frame + 14;
    memset(frame, 0, length);
    memcpy(frame, ports[out].mac, 6);
    memcpy(frame + 6, ports[in].mac, 6);
    frame[12] = 0x08;
    ipv4[0] = 0x45;
    ipv4[2] = (uint8_t)((length - 14) >> 8);
    ipv4[3] = (uint8_t)(length - 14);
    ipv4[6] = 0x40;
    ipv4[9] = 6;
    for (int i = 0; i < 8; i++) {
        ipv4[12 + i] = (uint8_t)(addresses[i / 4] >> (24 - 8 * (i % 4)));
    }
    uint8_t *service = in == 0 ? ipv4 + 20 : ipv4 + 22;
    service[0] = 3240 >> 8;
    service[1] = 3240 & 255;
    ipv4[32] = 0x50;
    ipv4[33] = 0x10;
}

static uint64_t decide_all(const struct vswitch_config *config, uint32_t in, const uint8_t *block,
                           uint32_t length, uint32_t count)
{
    uint64_t passed = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct vswitch_verdict verdict =
            vswitch_decide(config, &state, in, block + (size_t)i * length, length, NULL);
        passed += verdict.ports != 0;
    }
    return passed;
}

static void copy_all(uint8_t *to, const uint8_t *block, uint32_t length, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        memcpy(to + (size_t)i * length, block + (size_t)i * length, length);
    }
    /* Keeps the copy, although its result is unused. */
    __asm__ volatile("" : : "r"(to) : "memory");
}

static int bench(uint8_t *block, uint8_t *copy, uint32_t port_count, uint32_t length)
{
    struct vswitch_config config = configure(port_count);
    uint32_t count = BLOCK / length;
    /* The dear way: the last of all MACs, and an answer, for which both directions' rules are searched. */
    uint32_t in = 0;
    uint32_t out = port_count - 1;
    double best_decide = 1e9;
    double best_copy = 1e9;
    if (vswitch_init(&state, &config)) {
        return 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        make_frame(block + (size_t)i * length, length, in, out);
    }
    for (int round = 0; round < ROUNDS; round++) {
        double start = seconds();
        if (decide_all(&config, in, block, length, count) != count) {
            return 1;
        }
        double decided = seconds();
        copy_all(copy, block, length, count);
        double copied = seconds();
        best_decide = decided - start < best_decide ? decided - start : best_decide;
        best_copy = copied - decided < best_copy ? copied - decided : best_copy;
    }
    printf("decide %u %u %u %.9f\n", port_count, length, count, best_decide);
    printf("memcpy %u %u %u %.9f\n", port_count, length, count, best_copy);
    return 0;
}

int main(void)
{
    static const uint32_t cases[][2] = {{2, 64}, {62, 64}, {2, 1514}, {2, 65549}};
    uint8_t *block = malloc(BLOCK);
    uint8_t *copy = malloc(BLOCK);
    int status = !block || !copy;
    if (!status) {
        memset(copy, 1, BLOCK);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && !status; i++) {
            status = bench(block, copy, cases[i][0], cases[i][1]);
        }
    }
    free(block);
    free(copy);
    return status;
}
