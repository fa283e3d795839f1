/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The host process's configuration file: one statement a line, `#` starts a comment, rules name ports above
 * them.
 *
 *     frame-max 1514
 *     port server 52:54:00:4d:00:02 10.77.0.2
 *     port client 52:54:00:4d:00:03 10.77.0.3
 *     allow client server tcp 3240
 *     allow client server icmp
 *     vsock server 4
 *     vsock client 5
 *     allow client server vsock 3240
 *
 * `vsock NAME CID` gives a port a vsock device, whether it has an Ethernet device (`port`) or not.
 */
#ifndef VSWITCH_HOST_CONFIG_H
#define VSWITCH_HOST_CONFIG_H

#include "../core/vsock.h"
#include "../core/vswitch.h"

/* As long as Microkit's names may be. */
#define NAME_MAX_LENGTH 64

struct host_config {
    struct vswitch_config config; /* points into the arrays below, so this struct must not be copied */
    struct vswitch_port ports[VSWITCH_MAX_PORTS];
    struct vswitch_rule rules[VSWITCH_MAX_RULES];
    char names[VSWITCH_MAX_PORTS][NAME_MAX_LENGTH + 1];
    struct vsock_config vsock; /* the same */
    struct vsock_port vsock_ports[VSOCK_MAX_PORTS];
    struct vsock_rule vsock_rules[VSOCK_MAX_RULES];
    char vsock_names[VSOCK_MAX_PORTS][NAME_MAX_LENGTH + 1];
};

/* False after it has written "FILE:LINE: what is wrong" to stderr. Addresses and rules are judged by
 * vswitch_init and vsock_init. */
bool config_read(struct host_config *host, const char *path);

#endif
