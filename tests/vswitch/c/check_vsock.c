/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Harness for the CBMC model checker: for every configuration of up to 3 ports and 2 rules that vsock_init
 * accepts, every state in which the promises of vsock_invariants.h hold, and every step (a packet with any
 * header, a change of any port's link, a RST that is fetched), they hold afterwards, and no access is out of
 * bounds. Connections have any credit, up to the end of 64 bits.
 *
 * tests/vswitch/test_vsock_proof.py has the bounds.
 */
#include "vsock_invariants.h"

#define PORTS 3u
#define RULES 2u

uint8_t nondet_byte(void);
uint16_t nondet_short(void);
uint32_t nondet_number(void);
uint64_t nondet_wide(void);

#define ASSUME(condition) __CPROVER_assume(condition)
#define ASSERT(condition, text) __CPROVER_assert(condition, text)
/* Must fail: a proof about nothing would hold as well. */
#ifndef PLANTED_BUG
#define REACHED(condition) __CPROVER_assert(!(condition), "REACHED")
#else
#define REACHED(condition) (void)(condition)
#endif

static struct vsock_state state;
static struct vsock_port ports[PORTS];
static struct vsock_rule rules[RULES];
static struct vsock_config config = {.ports = ports, .rules = rules};

static void any_configuration(void)
{
    for (uint32_t i = 0; i < PORTS; i++) {
        ports[i].cid = nondet_number();
        ports[i].name = "port";
    }
    for (uint32_t i = 0; i < RULES; i++) {
        rules[i] = (struct vsock_rule){nondet_byte(), nondet_byte(), nondet_number()};
    }
    config.port_count = nondet_number();
    config.rule_count = nondet_number();
    ASSUME(config.port_count <= PORTS && config.rule_count <= RULES);
    ASSUME(vsock_init(&state, &config) == NULL);
}

/* No two connections have the same two ends: find_connection takes the first. */
static bool are_apart(void)
{
    for (uint32_t r = 0; r < config.rule_count; r++) {
        for (uint32_t i = 0; i < VSOCK_MAX_CONNECTIONS; i++) {
            for (uint32_t j = 0; j < i; j++) {
                const struct vsock_connection *one = &state.connections[r][i];
                const struct vsock_connection *other = &state.connections[r][j];
                if (one->state != VSOCK_FREE && other->state != VSOCK_FREE && one->port == other->port) {
                    return false;
                }
            }
        }
    }
    return true;
}

static void any_state(void)
{
    for (uint32_t r = 0; r < RULES; r++) {
        for (uint32_t i = 0; i < VSOCK_MAX_CONNECTIONS; i++) {
            struct vsock_connection *connection = &state.connections[r][i];
            *connection = (struct vsock_connection){nondet_number(), nondet_byte(), nondet_byte(), {{0}}};
            for (uint32_t end = 0; end < 2; end++) {
                connection->ends[end] = (struct vsock_end){nondet_wide(), nondet_wide(), nondet_number()};
                /* A connection lives for less than 2^64 bytes. */
                ASSUME(connection->ends[end].limit < UINT64_MAX - UINT32_MAX);
            }
        }
    }
    for (uint32_t port = 0; port < PORTS; port++) {
        uint32_t link = nondet_number();
        ASSUME(link <= VSOCK_DETACHED);
        state.links[port] = (enum vsock_link)link;
        state.owed[port] = nondet_number();
        state.open[port] = nondet_number();
    }
    ASSUME(broken_state(&config, &state) == NULL);
    ASSUME(are_apart());
}

void packet(void);
void link_change(void);
void reset(void);

void packet(void)
{
    any_configuration();
    any_state();
    struct vsock_header sent = {nondet_wide(),   nondet_wide(),  nondet_number(), nondet_number(),
                                nondet_number(), nondet_short(), nondet_short(),  nondet_number(),
                                nondet_number(), nondet_number()};
    struct vsock_header header = sent;
    uint32_t in = nondet_number();
    size_t payload = nondet_number();
    struct vsock_verdict verdict = vsock_judge(&config, &state, in, &header, payload);
    ASSERT(broken_verdict(&config, &state, in, &sent, &header, payload, verdict) == NULL,
           "a packet's promise");
    ASSERT(broken_state(&config, &state) == NULL, "the state's promise");
    ASSERT(are_apart(), "no two connections have the same ends");
    REACHED(verdict.action == VSOCK_FORWARD && header.operation == VSOCK_RW);
    REACHED(verdict.action == VSOCK_FORWARD && header.operation == VSOCK_REQUEST);
    REACHED(verdict.action == VSOCK_ANSWER);
    REACHED(verdict.reason == VSOCK_REASON_CREDIT);
}

void link_change(void)
{
    any_configuration();
    any_state();
    uint32_t port = nondet_number();
    uint32_t link = nondet_number();
    ASSUME(port < config.port_count && link <= VSOCK_DETACHED);
    bool was_open = state.open[port] > 0;
    vsock_set_link(&config, &state, port, (enum vsock_link)link);
    ASSERT(broken_state(&config, &state) == NULL, "the state's promise");
    REACHED(was_open && state.open[port] == 0);
}

void reset(void)
{
    any_configuration();
    any_state();
    struct vsock_header header;
    uint32_t port = nondet_number();
    ASSUME(port < config.port_count);
    uint32_t before = state.owed[port];
    bool found = vsock_next_reset(&config, &state, port, &header);
    ASSERT(found == (before > 0), "what is owed is found");
    ASSERT(!found || (header.operation == VSOCK_RST && header.destination_cid == ports[port].cid),
           "a RST for it");
    ASSERT(broken_state(&config, &state) == NULL, "the state's promise");
    REACHED(found);
}
