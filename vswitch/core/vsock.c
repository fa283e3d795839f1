/* SPDX-License-Identifier: BSD-2-Clause */
#include "vsock.h"

/* One packet under judgement, and what it belongs to. */
struct judged {
    const struct vsock_config *config;
    struct vsock_state *state;
    struct vsock_header *header;
    size_t payload;
    uint32_t in;
    uint32_t to;                         /* port_count: none */
    const struct vsock_rule *rule;       /* of the connection, or NULL */
    struct vsock_connection *connection; /* NULL: none */
    uint32_t end;                        /* 0: `in` opened the connection, 1: it listens */
};

static uint32_t find_port(const struct vsock_config *config, uint64_t cid)
{
    uint32_t port = 0;
    while (port < config->port_count && config->ports[port].cid != cid) {
        port++;
    }
    return port;
}

/* The port at one end of a rule's connections. */
static uint32_t port_at(const struct vsock_rule *rule, uint32_t end)
{
    return end == 0 ? rule->from : rule->to;
}

/* Finds the connection that the packet's two CIDs and ports name. */
static void find_connection(struct judged *judged)
{
    const struct vsock_header *header = judged->header;
    for (uint32_t r = 0; r < judged->config->rule_count; r++) {
        const struct vsock_rule *rule = &judged->config->rules[r];
        bool opens =
            rule->from == judged->in && rule->to == judged->to && rule->port == header->destination_port;
        bool listens =
            rule->to == judged->in && rule->from == judged->to && rule->port == header->source_port;
        if (!opens && !listens) {
            continue;
        }
        for (uint32_t i = 0; i < VSOCK_MAX_CONNECTIONS; i++) {
            struct vsock_connection *connection = &judged->state->connections[r][i];
            if (connection->state == VSOCK_FREE) {
                continue;
            }
            /* Two rules between the same ports may both fit a packet, but not the same connection. */
            bool opener = opens && connection->port == header->source_port;
            if (opener || (listens && connection->port == header->destination_port)) {
                judged->rule = rule;
                judged->connection = connection;
                judged->end = opener ? 0 : 1;
                return;
            }
        }
    }
}

static void owe(struct vsock_state *state, const struct vsock_rule *rule, struct vsock_connection *connection,
                uint32_t end)
{
    connection->owed |= (uint8_t)(1u << end);
    state->owed[port_at(rule, end)]++;
}

static void forgive(struct vsock_state *state, const struct vsock_rule *rule,
                    struct vsock_connection *connection, uint32_t end)
{
    if (connection->owed & 1u << end) {
        connection->owed &= (uint8_t) ~(1u << end);
        state->owed[port_at(rule, end)]--;
    }
    if (connection->state == VSOCK_ENDED && connection->owed == 0) {
        connection->state = VSOCK_FREE;
    }
}

/* Ends a connection; with `owed`, a set of ends that are to get a RST. */
static void end_connection(struct vsock_state *state, const struct vsock_rule *rule,
                           struct vsock_connection *connection, uint32_t owed)
{
    connection->state = owed ? VSOCK_ENDED : VSOCK_FREE;
    for (uint32_t end = 0; end < 2; end++) {
        state->open[port_at(rule, end)]--;
        if (owed & 1u << end) {
            owe(state, rule, connection, end);
        }
    }
}

static enum vsock_reason link_reason(enum vsock_link link)
{
    switch (link) {
    case VSOCK_UP:
        return VSOCK_REASON_PASS;
    case VSOCK_STALLED:
        return VSOCK_REASON_STALLED;
    case VSOCK_PAUSED:
    case VSOCK_DETACHED:
        break;
    }
    return VSOCK_REASON_PORT_DOWN;
}

/*
 * What a packet says about its sender's receive buffer. Packets may overtake each other on the way out of a
 * kernel, and a buffer may shrink, so the other end is held to the highest limit that it was ever given.
 */
static bool take_credit(struct vsock_end *other, const struct vsock_header *header)
{
    uint32_t outstanding = (uint32_t)other->sent - header->fwd_cnt;
    if (outstanding > other->sent) {
        return false;
    }
    uint64_t limit = other->sent - outstanding + header->buf_alloc;
    if (limit > other->limit) {
        other->limit = limit;
    }
    return true;
}

static enum vsock_reason judge_request(struct judged *judged)
{
    const struct vsock_header *header = judged->header;
    if (judged->connection) {
        return VSOCK_REASON_STATE;
    }
    uint32_t r = 0;
    for (; r < judged->config->rule_count; r++) {
        const struct vsock_rule *rule = &judged->config->rules[r];
        if (rule->from == judged->in && rule->to == judged->to && rule->port == header->destination_port) {
            break;
        }
    }
    if (r == judged->config->rule_count) {
        return VSOCK_REASON_NOT_ALLOWED;
    }
    enum vsock_reason reason = link_reason(judged->state->links[judged->to]);
    if (reason == VSOCK_REASON_PASS) {
        /* Who takes nothing would not take the answer either. */
        reason = link_reason(judged->state->links[judged->in]);
    }
    if (reason != VSOCK_REASON_PASS) {
        return reason;
    }
    if (header->fwd_cnt != 0) {
        return VSOCK_REASON_CREDIT;
    }
    for (uint32_t i = 0; i < VSOCK_MAX_CONNECTIONS; i++) {
        struct vsock_connection *connection = &judged->state->connections[r][i];
        if (connection->state == VSOCK_FREE) {
            *connection = (struct vsock_connection){.port = header->source_port, .state = VSOCK_REQUESTED};
            connection->ends[1].limit = header->buf_alloc;
            judged->state->open[judged->in]++;
            judged->state->open[judged->to]++;
            return VSOCK_REASON_PASS;
        }
    }
    return VSOCK_REASON_CONNECTIONS;
}

/* Whether the state of the connection admits the operation. */
static bool state_admits(const struct judged *judged)
{
    const struct vsock_connection *connection = judged->connection;
    if (connection->state == VSOCK_REQUESTED) {
        return judged->header->operation == VSOCK_RESPONSE && judged->end == 1;
    }
    if (judged->header->operation == VSOCK_RW) {
        return (connection->ends[judged->end].shutdown & VSOCK_NO_SEND) == 0;
    }
    return judged->header->operation != VSOCK_RESPONSE;
}

static enum vsock_reason judge_connected(struct judged *judged)
{
    struct vsock_connection *connection = judged->connection;
    const struct vsock_header *header = judged->header;
    if (!connection || connection->state == VSOCK_ENDED) {
        return VSOCK_REASON_NO_CONNECTION;
    }
    if (!state_admits(judged)) {
        return VSOCK_REASON_STATE;
    }
    struct vsock_end *sender = &connection->ends[judged->end];
    if (!take_credit(&connection->ends[1 - judged->end], header)) {
        return VSOCK_REASON_CREDIT;
    }
    if (header->operation == VSOCK_RW) {
        if (sender->limit - sender->sent < header->length) {
            return VSOCK_REASON_CREDIT;
        }
        sender->sent += header->length;
    } else if (header->operation == VSOCK_RESPONSE) {
        connection->state = VSOCK_OPEN;
    } else if (header->operation == VSOCK_SHUTDOWN) {
        sender->shutdown |= header->flags;
    }
    return VSOCK_REASON_PASS;
}

/* What can be said without a connection. */
static enum vsock_reason judge_form(const struct judged *judged)
{
    const struct vsock_header *header = judged->header;
    bool data = header->operation == VSOCK_RW;
    if (judged->to == judged->config->port_count || judged->to == judged->in) {
        return VSOCK_REASON_DESTINATION_CID;
    }
    if (header->type != VSOCK_STREAM) {
        return VSOCK_REASON_TYPE;
    }
    if (header->operation < VSOCK_REQUEST || header->operation > VSOCK_CREDIT_REQUEST ||
        (header->operation == VSOCK_SHUTDOWN && (header->flags & ~(uint32_t)VSOCK_COMPLETE))) {
        return VSOCK_REASON_OPERATION;
    }
    if (header->length != judged->payload || header->length > VSOCK_MAX_PAYLOAD ||
        data != (header->length > 0)) {
        return VSOCK_REASON_LENGTH;
    }
    return VSOCK_REASON_PASS;
}

static struct vsock_verdict refuse(struct judged *judged, enum vsock_action action, enum vsock_reason reason)
{
    judged->state->counters[judged->in].drops[reason]++;
    return (struct vsock_verdict){.action = action, .reason = reason};
}

/* A RST ends its connection without an answer. */
static struct vsock_verdict judge_reset(struct judged *judged)
{
    struct vsock_connection *connection = judged->connection;
    if (!connection || connection->state == VSOCK_ENDED) {
        if (connection) {
            forgive(judged->state, judged->rule, connection, judged->end);
        }
        return refuse(judged, VSOCK_DROP, VSOCK_REASON_RESET);
    }
    end_connection(judged->state, judged->rule, connection, 0);
    judged->header->flags = 0;
    judged->header->length = 0;
    judged->header->type = VSOCK_STREAM;
    return (struct vsock_verdict){VSOCK_FORWARD, VSOCK_REASON_PASS, judged->to};
}

struct vsock_verdict vsock_judge(const struct vsock_config *config, struct vsock_state *state, uint32_t in,
                                 struct vsock_header *header, size_t payload)
{
    struct judged judged = {.config = config, .state = state, .header = header, .payload = payload, .in = in};
    if (in >= config->port_count) {
        return (struct vsock_verdict){.action = VSOCK_DROP, .reason = VSOCK_REASON_NO_PORT};
    }
    state->counters[in].rx_packets++;
    state->counters[in].rx_bytes += payload;
    if (header->source_cid != config->ports[in].cid) {
        return refuse(&judged, VSOCK_DROP, VSOCK_REASON_SOURCE_CID);
    }
    judged.to = find_port(config, header->destination_cid);
    if (judged.to < config->port_count) {
        find_connection(&judged);
    }
    if (header->operation == VSOCK_RST) {
        return judge_reset(&judged);
    }
    enum vsock_reason reason = judge_form(&judged);
    if (reason == VSOCK_REASON_PASS) {
        reason = header->operation == VSOCK_REQUEST ? judge_request(&judged) : judge_connected(&judged);
    }
    struct vsock_connection *connection = judged.connection;
    if (reason != VSOCK_REASON_PASS && connection && connection->state != VSOCK_ENDED) {
        end_connection(state, judged.rule, connection, 3);
        return refuse(&judged, VSOCK_DROP, reason);
    }
    if (reason != VSOCK_REASON_PASS) {
        bool owed = connection && (connection->owed & 1u << judged.end);
        return refuse(&judged, owed ? VSOCK_DROP : VSOCK_ANSWER, reason);
    }
    if (connection && (connection->ends[0].shutdown & connection->ends[1].shutdown) == VSOCK_COMPLETE) {
        /* Neither end sends or takes any more, and each may be waiting for the other's RST. */
        end_connection(state, judged.rule, connection, 3);
        return (struct vsock_verdict){.action = VSOCK_DROP, .reason = VSOCK_REASON_PASS};
    }
    header->flags = header->operation == VSOCK_SHUTDOWN ? header->flags : 0;
    return (struct vsock_verdict){VSOCK_FORWARD, VSOCK_REASON_PASS, judged.to};
}

struct vsock_header vsock_answer(const struct vsock_header *header)
{
    return (struct vsock_header){
        .source_cid = header->destination_cid,
        .destination_cid = header->source_cid,
        .source_port = header->destination_port,
        .destination_port = header->source_port,
        .type = header->type,
        .operation = VSOCK_RST,
    };
}

void vsock_set_link(const struct vsock_config *config, struct vsock_state *state, uint32_t port,
                    enum vsock_link link)
{
    bool ends = state->links[port] == VSOCK_UP && link != VSOCK_UP;
    state->links[port] = link;
    if (state->open[port] == 0 && state->owed[port] == 0) {
        return; /* a guest may come and go often, and the tables are long */
    }
    for (uint32_t r = 0; r < config->rule_count && (ends || link == VSOCK_DETACHED); r++) {
        const struct vsock_rule *rule = &config->rules[r];
        for (uint32_t i = 0; i < VSOCK_MAX_CONNECTIONS && (rule->from == port || rule->to == port); i++) {
            struct vsock_connection *connection = &state->connections[r][i];
            if (connection->state != VSOCK_FREE && connection->state != VSOCK_ENDED) {
                end_connection(state, rule, connection, 3);
            }
            if (link == VSOCK_DETACHED) {
                forgive(state, rule, connection, rule->from == port ? 0 : 1);
            }
        }
    }
}

bool vsock_next_reset(const struct vsock_config *config, struct vsock_state *state, uint32_t port,
                      struct vsock_header *header)
{
    for (uint32_t r = 0; r < config->rule_count && state->owed[port] > 0; r++) {
        const struct vsock_rule *rule = &config->rules[r];
        if (rule->from != port && rule->to != port) {
            continue;
        }
        uint32_t end = rule->from == port ? 0 : 1;
        for (uint32_t i = 0; i < VSOCK_MAX_CONNECTIONS; i++) {
            struct vsock_connection *connection = &state->connections[r][i];
            if (connection->owed & 1u << end) {
                *header = (struct vsock_header){
                    .source_cid = config->ports[port_at(rule, 1 - end)].cid,
                    .destination_cid = config->ports[port].cid,
                    .source_port = end == 0 ? rule->port : connection->port,
                    .destination_port = end == 0 ? connection->port : rule->port,
                    .type = VSOCK_STREAM,
                    .operation = VSOCK_RST,
                };
                forgive(state, rule, connection, end);
                return true;
            }
        }
    }
    return false;
}
