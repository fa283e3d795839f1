/* SPDX-License-Identifier: BSD-2-Clause */

/* What a vsock configuration must be, and headers to and from the wire. */
#include "vsock.h"

static const char *check_ports(const struct vsock_config *config)
{
    if (config->port_count > VSOCK_MAX_PORTS) {
        return "a switch has at most 62 vsock ports";
    }
    for (uint32_t port = 0; port < config->port_count; port++) {
        uint32_t cid = config->ports[port].cid;
        if (cid < VSOCK_MIN_CID || cid == VSOCK_ANY) {
            return "a CID is 3 to 4294967294";
        }
        for (uint32_t other = 0; other < port; other++) {
            if (config->ports[other].cid == cid) {
                return "two ports have the same CID";
            }
        }
    }
    return NULL;
}

static const char *check_rules(const struct vsock_config *config)
{
    if (config->rule_count > VSOCK_MAX_RULES) {
        return "a switch has at most 256 vsock rules";
    }
    for (uint32_t i = 0; i < config->rule_count; i++) {
        const struct vsock_rule *rule = &config->rules[i];
        if (rule->from >= config->port_count || rule->to >= config->port_count || rule->from == rule->to) {
            return "a vsock rule does not name two vsock ports of the switch";
        }
        if (rule->port == 0 || rule->port == VSOCK_ANY) {
            return "a vsock rule's port is 1 to 4294967294";
        }
        for (uint32_t other = 0; other < i; other++) {
            const struct vsock_rule *same = &config->rules[other];
            if (same->from == rule->from && same->to == rule->to && same->port == rule->port) {
                return "two vsock rules are the same";
            }
        }
    }
    return NULL;
}

const char *vsock_init(struct vsock_state *state, const struct vsock_config *config)
{
    const char *problem = check_ports(config);
    if (!problem) {
        problem = check_rules(config);
    }
    if (problem) {
        return problem;
    }
    /* No assignment of a whole state: it is a megabyte, and a compiler may build that on the stack. */
    for (uint32_t rule = 0; rule < config->rule_count; rule++) {
        for (uint32_t i = 0; i < VSOCK_MAX_CONNECTIONS; i++) {
            state->connections[rule][i] = (struct vsock_connection){.state = VSOCK_FREE};
        }
    }
    for (uint32_t port = 0; port < config->port_count; port++) {
        state->links[port] = VSOCK_DETACHED;
        state->owed[port] = 0;
        state->open[port] = 0;
        state->counters[port] = (struct vsock_counters){0};
    }
    return NULL;
}

static uint64_t read_number(const uint8_t *bytes, uint32_t count)
{
    uint64_t value = 0;
    for (uint32_t i = count; i > 0; i--) {
        value = value << 8 | bytes[i - 1];
    }
    return value;
}

static void write_number(uint8_t *bytes, uint64_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
}

void vsock_read(struct vsock_header *header, const uint8_t *bytes)
{
    header->source_cid = read_number(bytes, 8);
    header->destination_cid = read_number(bytes + 8, 8);
    header->source_port = (uint32_t)read_number(bytes + 16, 4);
    header->destination_port = (uint32_t)read_number(bytes + 20, 4);
    header->length = (uint32_t)read_number(bytes + 24, 4);
    header->type = (uint16_t)read_number(bytes + 28, 2);
    header->operation = (uint16_t)read_number(bytes + 30, 2);
    header->flags = (uint32_t)read_number(bytes + 32, 4);
    header->buf_alloc = (uint32_t)read_number(bytes + 36, 4);
    header->fwd_cnt = (uint32_t)read_number(bytes + 40, 4);
}

void vsock_write(uint8_t *bytes, const struct vsock_header *header)
{
    write_number(bytes, header->source_cid, 8);
    write_number(bytes + 8, header->destination_cid, 8);
    write_number(bytes + 16, header->source_port, 4);
    write_number(bytes + 20, header->destination_port, 4);
    write_number(bytes + 24, header->length, 4);
    write_number(bytes + 28, header->type, 2);
    write_number(bytes + 30, header->operation, 2);
    write_number(bytes + 32, header->flags, 4);
    write_number(bytes + 36, header->buf_alloc, 4);
    write_number(bytes + 40, header->fwd_cnt, 4);
}

const char *vsock_reason_name(enum vsock_reason reason)
{
    static const char *const names[] = {
#define VSOCK_REASON_NAME(name, text) text,
        VSOCK_REASONS(VSOCK_REASON_NAME)
#undef VSOCK_REASON_NAME
    };
    return (uint32_t)reason < VSOCK_REASON_COUNT ? names[reason] : "unknown";
}
