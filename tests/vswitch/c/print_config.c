/* SPDX-License-Identifier: BSD-2-Clause */

/* Prints the configuration that a generated header holds, after the core has accepted it. */
#include <stdio.h>

#include "vswitch_config.h"

static struct vswitch_state state;

int main(void)
{
    const char *problem = vswitch_init(&state, &vswitch_config);
    if (problem) {
        puts(problem);
        return 1;
    }
    printf("%u\n", vswitch_config.frame_max);
    for (uint32_t i = 0; i < vswitch_config.port_count; i++) {
        const struct vswitch_port *port = &vswitch_config.ports[i];
        printf("%s %02x:%02x:%02x:%02x:%02x:%02x %08x\n", port->name, port->mac[0], port->mac[1],
               port->mac[2], port->mac[3], port->mac[4], port->mac[5], port->ipv4);
    }
    for (uint32_t i = 0; i < vswitch_config.rule_count; i++) {
        const struct vswitch_rule *rule = &vswitch_config.rules[i];
        printf("%u %u %u %u\n", rule->from, rule->to, rule->protocol, rule->port);
    }
    return 0;
}
