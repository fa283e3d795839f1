/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Harnesses for the CBMC model checker: headers of vsock packets, and the vsock core's steps but for the
 * judgement of a packet, each from any state in which the promises of vsock_invariants.h hold. They hold
 * again after each step. tests/vswitch/test_vsock_proof.py has the bounds; of the judgement, the fuzzer and
 * the model in Python try the same promises.
 */
#include "prove.h"
#include "vsock_invariants.h"

static struct vsock_port ports[VSOCK_MAX_PORTS];
static struct vsock_rule rules[VSOCK_MAX_RULES];
static struct vsock_config config = {.ports = ports, .rules = rules};
static struct vsock_state state;

/* One slot of the tables, chosen by the solver: what is said of it holds for all of them. */
static uint32_t chosen_rule, chosen_slot;

static struct vsock_connection chosen(void)
{
    return state.connections[chosen_rule][chosen_slot];
}

/* Any configuration that is accepted. */
static void configure(void)
{
    config.port_count = nondet_u32();
    config.rule_count = nondet_u32();
    ASSUME(config.port_count <= VSOCK_MAX_PORTS && config.rule_count <= VSOCK_MAX_RULES);
    for (uint32_t i = 0; i < VSOCK_MAX_PORTS; i++) {
        ports[i].cid = nondet_u32();
    }
    for (uint32_t i = 0; i < VSOCK_MAX_RULES; i++) {
        rules[i] = (struct vsock_rule){nondet_u8(), nondet_u8(), nondet_u32()};
    }
    ASSUME(vsock_init(&state, &config) == NULL);
}

/* One with as many ports and rules as there may be. CIDs are only compared, so these stand for all. */
static void configure_fully(void)
{
    config.port_count = VSOCK_MAX_PORTS;
    config.rule_count = VSOCK_MAX_RULES;
    for (uint32_t i = 0; i < VSOCK_MAX_PORTS; i++) {
        ports[i].cid = VSOCK_MIN_CID + i;
    }
    for (uint32_t i = 0; i < VSOCK_MAX_RULES; i++) {
        rules[i] =
            (struct vsock_rule){nondet_u8() % VSOCK_MAX_PORTS, nondet_u8() % VSOCK_MAX_PORTS, nondet_u32()};
    }
    ASSUME(vsock_init(&state, &config) == NULL);
}

static const char *broken(void)
{
    const char *what = broken_state(&config, &state);
    return what ? what : broken_names(&config, &state);
}

/* Any state in which the promises hold. */
static void begin(void)
{
    configure_fully();
    __CPROVER_havoc_object(&state);
    for (uint32_t port = 0; port < config.port_count; port++) {
        ASSUME(state.links[port] <= VSOCK_DETACHED);
    }
    ASSUME(broken() == NULL);
    chosen_rule = nondet_u32();
    chosen_slot = nondet_u32();
    ASSUME(chosen_rule < config.rule_count && chosen_slot < VSOCK_MAX_CONNECTIONS);
}

static uint32_t end_of_port(const struct vsock_rule *rule, uint32_t port)
{
    return rule->from == port ? 0u : rule->to == port ? 1u : 2u;
}

static bool same_end(const struct vsock_end *a, const struct vsock_end *b)
{
    return a->sent == b->sent && a->limit == b->limit && a->shutdown == b->shutdown;
}

static bool same_connection(const struct vsock_connection *a, const struct vsock_connection *b)
{
    return a->port == b->port && a->state == b->state && a->owed == b->owed &&
           same_end(&a->ends[0], &b->ends[0]) && same_end(&a->ends[1], &b->ends[1]);
}

void prove_start(void);
void prove_start(void)
{
    configure();
    ASSERT(broken() == NULL, "what vsock_init makes keeps the promises");
    if (config.port_count == VSOCK_MAX_PORTS && config.rule_count == VSOCK_MAX_RULES) {
        REACHED();
    }
}

void prove_headers(void);
void prove_headers(void)
{
    uint8_t bytes[VSOCK_HEADER], again[VSOCK_HEADER];
    struct vsock_header header;
    uint32_t at = nondet_u32();
    ASSUME(at < VSOCK_HEADER);
    vsock_read(&header, bytes);
    vsock_write(again, &header);
    ASSERT(again[at] == bytes[at], "each byte of a header means something, and in one place");
    ASSERT(header.fwd_cnt == ((uint32_t)bytes[43] << 24 | (uint32_t)bytes[42] << 16 |
                              (uint32_t)bytes[41] << 8 | bytes[40]) &&
               header.operation == (bytes[30] | bytes[31] << 8),
           "lowest byte first");
    REACHED();
}

void prove_links(void);
void prove_links(void)
{
    begin();
    uint32_t port = nondet_u32();
    enum vsock_link link = (enum vsock_link)(nondet_u32() % (VSOCK_DETACHED + 1u));
    ASSUME(port < config.port_count);
    const struct vsock_connection before = chosen();
    bool was_up = state.links[port] == VSOCK_UP;
    uint32_t end = end_of_port(&rules[chosen_rule], port);

    vsock_set_link(&config, &state, port, link);

    const struct vsock_connection after = chosen();
    const char *promise = broken();
    ASSERT(promise == NULL, "a promise about the state of vsock_invariants.h");
    ASSERT(state.links[port] == link, "a link is what the caller says");
    ASSERT(end < 2 || same_connection(&before, &after), "a guest that goes ends no connection of others");
    if (end < 2 && is_live(&before) && link != VSOCK_UP) {
        ASSERT(!is_live(&after) && (after.owed >> (1u - end) & 1u), "the other end gets a RST");
        ASSERT(was_up && (after.owed >> end & 1u) == (link != VSOCK_DETACHED), "and so does one that stays");
        REACHED();
    }
    if (link == VSOCK_UP && is_live(&before)) {
        ASSERT(same_connection(&before, &after), "a guest that comes ends no connection");
        REACHED();
    }
}

void prove_resets(void);
void prove_resets(void)
{
    begin();
    struct vsock_header header;
    uint32_t port = nondet_u32();
    ASSUME(port < config.port_count);
    const struct vsock_connection before = chosen();
    uint32_t owed = state.owed[port];
    uint32_t end = end_of_port(&rules[chosen_rule], port);

    bool any = vsock_next_reset(&config, &state, port, &header);

    const struct vsock_connection after = chosen();
    const char *promise = broken();
    ASSERT(promise == NULL, "a promise about the state of vsock_invariants.h");
    ASSERT(any == (owed > 0) && state.owed[port] == owed - any, "what is owed is given, once");
    if (any) {
        ASSERT(header.operation == VSOCK_RST && header.length == 0 && header.flags == 0 &&
                   header.destination_cid == ports[port].cid && header.source_cid != header.destination_cid,
               "a RST from a peer of the port");
    }
    if (!same_connection(&before, &after)) {
        ASSERT(any && end < 2 && (before.owed >> end & 1u) && !(after.owed >> end & 1u),
               "it is the RST of a connection of this port");
        ASSERT(header.destination_port == (end == 0 ? before.port : rules[chosen_rule].port),
               "and names its ports");
        REACHED();
    }
}
