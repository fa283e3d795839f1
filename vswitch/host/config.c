/* SPDX-License-Identifier: BSD-2-Clause */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 6

static const char bad_name[] =
    "a port's name is 1 to 64 letters, digits, '-', '_' or '.', with no dot in front";

/* A name becomes a file name: letters, digits and -_. with no dot in front. */
static bool name_is_plain(const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t length = strlen(name);
    return length > 0 && length <= NAME_MAX_LENGTH && name[0] != '.' && strspn(name, plain) == length;
}

static bool parse_number(const char *text, uint32_t highest, uint32_t *number)
{
    if (text[0] == '\0' || strlen(text) > 10 || strspn(text, "0123456789") != strlen(text)) {
        return false;
    }
    unsigned long long value = strtoull(text, NULL, 10);
    *number = (uint32_t)value;
    return value <= highest;
}

/* Six pairs of hexadecimal digits with colons between. */
static bool parse_mac(const char *text, uint8_t mac[6])
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    if (strlen(text) != 17) {
        return false;
    }
    for (int i = 0; i < 6; i++) {
        const char *high = strchr(digits, text[3 * i]);
        const char *low = strchr(digits, text[3 * i + 1]);
        if (!high || !low || (i < 5 && text[3 * i + 2] != ':')) {
            return false;
        }
        mac[i] = (uint8_t)(((high - digits) & 15) << 4 | ((low - digits) & 15));
    }
    return true;
}

static bool find_port(const struct host_config *host, const char *name, uint8_t *number)
{
    for (uint32_t port = 0; port < host->config.port_count; port++) {
        if (strcmp(host->names[port], name) == 0) {
            *number = (uint8_t)port;
            return true;
        }
    }
    return false;
}

static const char *add_port(struct host_config *host, char **words, int count)
{
    uint32_t number = host->config.port_count;
    struct in_addr address;
    uint8_t same;
    if (count != 4) {
        return "expected: port NAME MAC IPV4";
    }
    if (number == VSWITCH_MAX_PORTS) {
        return "more than 62 ports";
    }
    struct vswitch_port *port = &host->ports[number];
    if (!name_is_plain(words[1])) {
        return bad_name;
    }
    if (find_port(host, words[1], &same)) {
        return "two ports have the same name";
    }
    if (!parse_mac(words[2], port->mac)) {
        return "a MAC address looks like 52:54:00:4d:00:02";
    }
    if (inet_pton(AF_INET, words[3], &address) != 1) {
        return "an IPv4 address looks like 10.77.0.2";
    }
    strcpy(host->names[number], words[1]);
    port->name = host->names[number];
    port->ipv4 = ntohl(address.s_addr);
    host->config.port_count++;
    return NULL;
}

static bool find_vsock_port(const struct host_config *host, const char *name, uint8_t *number)
{
    for (uint32_t port = 0; port < host->vsock.port_count; port++) {
        if (strcmp(host->vsock_names[port], name) == 0) {
            *number = (uint8_t)port;
            return true;
        }
    }
    return false;
}

static const char *add_vsock_port(struct host_config *host, char **words, int count)
{
    uint32_t number = host->vsock.port_count;
    uint8_t same;
    if (count != 3) {
        return "expected: vsock NAME CID";
    }
    if (number == VSOCK_MAX_PORTS) {
        return "more than 62 vsock ports";
    }
    if (!name_is_plain(words[1])) {
        return bad_name;
    }
    if (find_vsock_port(host, words[1], &same)) {
        return "a port has two vsock devices";
    }
    struct vsock_port *port = &host->vsock_ports[number];
    if (!parse_number(words[2], VSOCK_ANY - 1, &port->cid) || port->cid < VSOCK_MIN_CID) {
        return "a CID is a number from 3 to 4294967294";
    }
    strcpy(host->vsock_names[number], words[1]);
    port->name = host->vsock_names[number];
    host->vsock.port_count++;
    return NULL;
}

static const char *add_vsock_rule(struct host_config *host, char **words, int count)
{
    if (host->vsock.rule_count == VSOCK_MAX_RULES) {
        return "more than 256 vsock rules";
    }
    struct vsock_rule *rule = &host->vsock_rules[host->vsock.rule_count];
    if (!find_vsock_port(host, words[1], &rule->from) || !find_vsock_port(host, words[2], &rule->to)) {
        return "a vsock rule names a port for which no line above declares a vsock device";
    }
    if (count != 5 || !parse_number(words[4], VSOCK_ANY - 1, &rule->port) || rule->port == 0) {
        return "a vsock rule's port is a number from 1 to 4294967294";
    }
    host->vsock.rule_count++;
    return NULL;
}

static const char *add_rule(struct host_config *host, char **words, int count)
{
    struct vswitch_rule rule = {.port = 0};
    uint32_t number = 0;
    if (count < 4) {
        return "expected: allow FROM TO icmp, or: allow FROM TO tcp|udp|vsock PORT";
    }
    if (strcmp(words[3], "vsock") == 0) {
        return add_vsock_rule(host, words, count);
    }
    if (host->config.rule_count == VSWITCH_MAX_RULES) {
        return "more than 4096 rules";
    }
    if (!find_port(host, words[1], &rule.from) || !find_port(host, words[2], &rule.to)) {
        return "a rule names a port that no line above declares";
    }
    if (strcmp(words[3], "icmp") == 0 && count == 4) {
        rule.protocol = VSWITCH_ICMP_ECHO;
    } else if ((strcmp(words[3], "tcp") == 0 || strcmp(words[3], "udp") == 0) && count == 5) {
        rule.protocol = words[3][0] == 't' ? VSWITCH_TCP : VSWITCH_UDP;
        if (!parse_number(words[4], UINT16_MAX, &number) || number == 0) {
            return "a port number is 1 to 65535";
        }
        rule.port = (uint16_t)number;
    } else {
        return "a rule's protocol is icmp, tcp PORT, udp PORT or vsock PORT";
    }
    /* The core wants them in order of `from`; the file's order means nothing. */
    uint32_t at = host->config.rule_count++;
    for (; at > 0 && host->rules[at - 1].from > rule.from; at--) {
        host->rules[at] = host->rules[at - 1];
    }
    host->rules[at] = rule;
    return NULL;
}

static const char *read_line(struct host_config *host, char *line)
{
    char *words[WORDS_MAX];
    int count = 0;
    line[strcspn(line, "#\n")] = '\0';
    for (char *rest = NULL, *word = strtok_r(line, " \t\r", &rest); word;
         word = strtok_r(NULL, " \t\r", &rest)) {
        if (count == WORDS_MAX) {
            return "too many words";
        }
        words[count++] = word;
    }
    if (count == 0) {
        return NULL;
    }
    if (strcmp(words[0], "port") == 0) {
        return add_port(host, words, count);
    }
    if (strcmp(words[0], "vsock") == 0) {
        return add_vsock_port(host, words, count);
    }
    if (strcmp(words[0], "allow") == 0) {
        return add_rule(host, words, count);
    }
    if (strcmp(words[0], "frame-max") == 0 && count == 2) {
        return parse_number(words[1], VSWITCH_FRAME_MAX, &host->config.frame_max)
                   ? NULL
                   : "a frame limit is a number of bytes, at most 65550";
    }
    return "expected: frame-max BYTES, port …, vsock … or allow …";
}

bool config_read(struct host_config *host, const char *path)
{
    char line[512];
    const char *problem = NULL;
    int number = 0;
    FILE *file = fopen(path, "re");
    if (!file) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    *host = (struct host_config){.config = {.frame_max = VSWITCH_FRAME_MAX}};
    host->config.ports = host->ports;
    host->config.rules = host->rules;
    host->vsock.ports = host->vsock_ports;
    host->vsock.rules = host->vsock_rules;
    while (!problem && fgets(line, sizeof(line), file)) {
        number++;
        problem = strchr(line, '\n') || feof(file) ? read_line(host, line) : "a line of more than 510 bytes";
    }
    if (!problem && ferror(file)) {
        problem = "cannot be read";
    }
    fclose(file);
    if (problem) {
        fprintf(stderr, "%s:%d: %s\n", path, number, problem);
        return false;
    }
    return true;
}
