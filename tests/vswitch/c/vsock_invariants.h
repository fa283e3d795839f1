/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What the vsock core promises of every packet and after every step. Each function returns NULL, or the first
 * promise that is broken.
 */
#ifndef VSOCK_INVARIANTS_H
#define VSOCK_INVARIANTS_H

#include "vsock.h"

static inline bool is_live(const struct vsock_connection *connection)
{
    return connection->state == VSOCK_REQUESTED || connection->state == VSOCK_OPEN;
}

/* Of the state: it holds from vsock_init on. */
static inline const char *broken_state(const struct vsock_config *config, const struct vsock_state *state)
{
    uint32_t owed[VSOCK_MAX_PORTS] = {0};
    uint32_t open[VSOCK_MAX_PORTS] = {0};
    for (uint32_t r = 0; r < config->rule_count; r++) {
        const uint32_t at[2] = {config->rules[r].from, config->rules[r].to};
        for (uint32_t i = 0; i < VSOCK_MAX_CONNECTIONS; i++) {
            const struct vsock_connection *connection = &state->connections[r][i];
            if (connection->state > VSOCK_ENDED || connection->owed > 3 ||
                (connection->state == VSOCK_ENDED) != (connection->owed != 0)) {
                return "only an ended connection owes, and one that owes nothing is free";
            }
            for (uint32_t end = 0; end < 2; end++) {
                owed[at[end]] += connection->owed >> end & 1u;
                open[at[end]] += is_live(connection);
                if (is_live(connection) && state->links[at[end]] != VSOCK_UP) {
                    return "a connection lives between running guests only";
                }
                if (is_live(connection) && connection->ends[end].sent > connection->ends[end].limit) {
                    return "no end has sent more than the other announced";
                }
                if (connection->ends[end].shutdown > VSOCK_COMPLETE) {
                    return "a shutdown has two flags";
                }
            }
        }
    }
    for (uint32_t port = 0; port < config->port_count; port++) {
        if (owed[port] != state->owed[port] || open[port] != state->open[port]) {
            return "connections and owed RSTs are counted";
        }
        if (state->links[port] == VSOCK_DETACHED && state->owed[port] != 0) {
            return "nothing is owed to a guest that is gone";
        }
    }
    return NULL;
}

/* Of the state: it holds from vsock_init on. Slow, so not for long tables. */
static inline const char *broken_names(const struct vsock_config *config, const struct vsock_state *state)
{
    const uint32_t slots = config->rule_count * VSOCK_MAX_CONNECTIONS;
    for (uint32_t a = 0; a < slots; a++) {
        const struct vsock_rule *rule = &config->rules[a / VSOCK_MAX_CONNECTIONS];
        const struct vsock_connection *one =
            &state->connections[a / VSOCK_MAX_CONNECTIONS][a % VSOCK_MAX_CONNECTIONS];
        for (uint32_t b = 0; b < a && one->state != VSOCK_FREE; b++) {
            const struct vsock_rule *other = &config->rules[b / VSOCK_MAX_CONNECTIONS];
            const struct vsock_connection *two =
                &state->connections[b / VSOCK_MAX_CONNECTIONS][b % VSOCK_MAX_CONNECTIONS];
            bool same = other == rule && two->port == one->port;
            bool turned = other->from == rule->to && other->to == rule->from && other->port == one->port &&
                          two->port == rule->port;
            if (two->state != VSOCK_FREE && (same || turned)) {
                return "no two connections have the same two ends";
            }
        }
    }
    return NULL;
}

static inline bool is_allowed(const struct vsock_config *config, uint32_t from, uint32_t to, uint32_t port)
{
    for (uint32_t r = 0; r < config->rule_count; r++) {
        if (config->rules[r].from == from && config->rules[r].to == to && config->rules[r].port == port) {
            return true;
        }
    }
    return false;
}

/* Of one packet. sent: as it came; header: as the core left it. */
static inline const char *broken_verdict(const struct vsock_config *config, const struct vsock_state *state,
                                         uint32_t in, const struct vsock_header *sent,
                                         const struct vsock_header *header, size_t payload,
                                         struct vsock_verdict verdict)
{
    if (verdict.action == VSOCK_ANSWER && sent->operation == VSOCK_RST) {
        return "no RST answers a RST";
    }
    if (verdict.action != VSOCK_FORWARD) {
        return NULL;
    }
    if (verdict.reason != VSOCK_REASON_PASS || in >= config->port_count || verdict.to >= config->port_count ||
        verdict.to == in) {
        return "a packet passes between two ports";
    }
    if (header->source_cid != config->ports[in].cid ||
        header->destination_cid != config->ports[verdict.to].cid) {
        return "a packet that passes has the CIDs of its two ports";
    }
    if (state->links[verdict.to] != VSOCK_UP) {
        return "a packet passes to a running guest only";
    }
    if (header->type != VSOCK_STREAM || header->operation != sent->operation ||
        header->buf_alloc != sent->buf_alloc || header->fwd_cnt != sent->fwd_cnt ||
        header->source_port != sent->source_port || header->destination_port != sent->destination_port) {
        return "ports, operation and credit are passed on as they came";
    }
    if (header->operation == VSOCK_RST ? header->length != 0
                                       : header->length != payload || payload > VSOCK_MAX_PAYLOAD) {
        return "a packet that passes is as long as it says";
    }
    if (!is_allowed(config, in, verdict.to, header->destination_port) &&
        (header->operation == VSOCK_REQUEST || !is_allowed(config, verdict.to, in, header->source_port))) {
        return "a rule allows what passes, and a REQUEST in its own direction";
    }
    if (header->flags != 0 && (header->operation != VSOCK_SHUTDOWN || header->flags > VSOCK_COMPLETE)) {
        return "only SHUTDOWN has flags";
    }
    return NULL;
}

#endif
