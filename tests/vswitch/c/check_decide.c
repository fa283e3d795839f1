/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Harness for the CBMC model checker: for every configuration of up to 3 ports and 3 rules that vswitch_init
 * accepts, and every frame of any length, no access is out of bounds and the promises of invariants.h hold.
 *
 * tests/vswitch/test_core_proof.py has the bounds. Compiled as a program it runs the same function on
 * random values, to show that the harness itself is sound.
 */
#include <stdio.h>
#include <stdlib.h>

#include "invariants.h"

#define PORTS 3u
#define RULES 3u

#ifdef __CPROVER__
uint32_t nondet_number(void);
#define ASSUME(condition) __CPROVER_assume(condition)
#define ASSERT(condition, text) __CPROVER_assert(condition, text)
/* Must fail: a proof about nothing would hold as well. */
#ifndef PLANTED_BUG
#define REACHED(condition) __CPROVER_assert(!(condition), "REACHED")
#else
#define REACHED(condition) (void)(condition)
#endif
#else
static uint32_t random_state;

/* xorshift32 (Marsaglia 2003); small numbers come often, since most of the interesting ones are small. */
static uint32_t nondet_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state & 0x10000 ? random_state % 5 : random_state;
}
#define ASSUME(condition)                                                                                    \
    if (!(condition)) {                                                                                      \
        return;                                                                                              \
    }
#define ASSERT(condition, text)                                                                              \
    if (!(condition)) {                                                                                      \
        fprintf(stderr, "broken: %s\n", text);                                                               \
        abort();                                                                                             \
    }
#define REACHED(condition) (void)(condition)
#endif

static unsigned accepted;

void harness(void);

void harness(void)
{
    static struct vswitch_state state;
    struct vswitch_port ports[PORTS];
    struct vswitch_rule rules[RULES];
    for (uint32_t i = 0; i < PORTS; i++) {
        for (uint32_t byte = 0; byte < 6; byte++) {
            ports[i].mac[byte] = (uint8_t)nondet_number();
        }
        ports[i].ipv4 = nondet_number();
        ports[i].name = "port";
    }
    for (uint32_t i = 0; i < RULES; i++) {
        rules[i].from = (uint8_t)nondet_number();
        rules[i].to = (uint8_t)nondet_number();
        rules[i].protocol = (uint8_t)nondet_number();
        rules[i].port = (uint16_t)nondet_number();
    }
    struct vswitch_config config = {ports, rules, nondet_number(), nondet_number(), nondet_number()};
    ASSUME(config.port_count <= PORTS && config.rule_count <= RULES);
#ifndef __CPROVER__
    config.frame_max = config.frame_max % (VSWITCH_FRAME_MAX + 2);
#endif
    ASSUME(vswitch_init(&state, &config) == NULL);
    accepted++;

    uint32_t in_port = nondet_number();
    size_t length = nondet_number();
    /* The object ends where the frame does, or where the core has to stop reading. */
    size_t present = length < VSWITCH_HEAD ? length : VSWITCH_HEAD;
    uint8_t bytes[VSWITCH_HEAD];
    for (uint32_t i = 0; i < VSWITCH_HEAD; i++) {
        bytes[i] = (uint8_t)nondet_number();
    }
    const uint8_t *frame = bytes + (VSWITCH_HEAD - present);
    struct vswitch_offload offload = {(uint8_t)nondet_number(),  (uint8_t)nondet_number(),
                                      (uint16_t)nondet_number(), (uint16_t)nondet_number(),
                                      (uint16_t)nondet_number(), (uint16_t)nondet_number()};
    vswitch_set_link(&state, nondet_number(), false);
    struct vswitch_counters before = {0};
    if (in_port < config.port_count) {
        before = state.counters[in_port];
    }
    struct vswitch_verdict verdict = vswitch_decide(&config, &state, in_port, frame, length, &offload);
    const char *broken = broken_promise(&config, &state, &before, in_port, frame, length, &offload, verdict);
    ASSERT(broken == NULL, "a promise of invariants.h");
    REACHED(verdict.ports != 0);
}

#ifndef __CPROVER__
int main(int argc, char **argv)
{
    long rounds = argc > 1 ? atol(argv[1]) : 1;
    random_state = argc > 2 ? (uint32_t)atol(argv[2]) : 1;
    for (long i = 0; i < rounds; i++) {
        harness();
    }
    printf("%u\n", accepted);
    return 0;
}
#endif
