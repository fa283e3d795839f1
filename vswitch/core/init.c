/* SPDX-License-Identifier: BSD-2-Clause */

/* What a configuration must be, and the tables made from it once. */
#include "wire.h"

static const char *check_ports(const struct vswitch_config *config)
{
    if (config->port_count == 0 || config->port_count > VSWITCH_MAX_PORTS) {
        return "a switch has 1 to 62 ports";
    }
    for (uint32_t port = 0; port < config->port_count; port++) {
        uint64_t mac = be48(config->ports[port].mac);
        uint32_t ipv4 = config->ports[port].ipv4;
        if (mac == 0 || (mac & MAC_GROUP)) {
            return "a port's MAC address is zero or a group address";
        }
        /* 0.0.0.0/8, 127.0.0.0/8, multicast, reserved and broadcast: no host's address. */
        if (ipv4 >> 24 == 0 || ipv4 >> 24 == 127 || ipv4 >> 24 >= 224) {
            return "a port's IPv4 address is not a host's";
        }
        for (uint32_t other = 0; other < port; other++) {
            if (be48(config->ports[other].mac) == mac) {
                return "two ports have the same MAC address";
            }
            if (config->ports[other].ipv4 == ipv4) {
                return "two ports have the same IPv4 address";
            }
        }
    }
    return NULL;
}

static const char *check_rules(const struct vswitch_config *config)
{
    if (config->rule_count > VSWITCH_MAX_RULES) {
        return "a switch has at most 4096 rules";
    }
    for (uint32_t i = 0; i < config->rule_count; i++) {
        const struct vswitch_rule *rule = &config->rules[i];
        if (rule->from >= config->port_count || rule->to >= config->port_count || rule->from == rule->to) {
            return "a rule does not name two ports of the switch";
        }
        if (i > 0 && rule->from < config->rules[i - 1].from) {
            return "the rules are not in ascending order of their `from` port";
        }
        if (rule->protocol > VSWITCH_UDP) {
            return "a rule's protocol is unknown";
        }
        if ((rule->port == 0) != (rule->protocol == VSWITCH_ICMP_ECHO)) {
            return "a rule for TCP or UDP needs a port number, and one for ICMP echo has none";
        }
    }
    return NULL;
}

const char *vswitch_init(struct vswitch_state *state, const struct vswitch_config *config)
{
    const char *problem = check_ports(config);
    if (!problem) {
        problem = check_rules(config);
    }
    if (!problem && (config->frame_max < VSWITCH_MIN_FRAME_MAX || config->frame_max > VSWITCH_FRAME_MAX)) {
        problem = "the frame limit is not between 82 and 65550 bytes";
    }
    if (problem) {
        return problem;
    }
    *state = (struct vswitch_state){0};
    state->up = bit(config->port_count) - 1;
    uint32_t rule = 0;
    for (uint32_t port = 0; port < config->port_count; port++) {
        state->macs[port] = be48(config->ports[port].mac);
        state->first_rule[port] = (uint16_t)rule;
        for (; rule < config->rule_count && config->rules[rule].from == port; rule++) {
            uint8_t to = config->rules[rule].to;
            state->peers[port] |= bit(to);
            state->peers[to] |= bit(port);
        }
        state->first_rule[port + 1] = (uint16_t)rule;
    }
    return NULL;
}
