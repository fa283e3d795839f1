/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Drives the vsock core from lines on standard input, one answer a line:
 *     config FILE              reads a host configuration; all ports are up  -> ok, or what is wrong
 *     link PORT LINK           enum vsock_link                               -> ok
 *     packet PORT HEX PAYLOAD  judges a header, with so many bytes behind it -> ACTION REASON TO HEX
 *     resets PORT              takes all RSTs that the port is owed          -> HEX...
 *     reasons                                                                -> every name
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../vswitch/host/config.h"

static struct host_config host;
static struct vsock_state state;

static void print_header(const struct vsock_header *header)
{
    uint8_t bytes[VSOCK_HEADER];
    vsock_write(bytes, header);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        printf("%02x", bytes[i]);
    }
}

static void judge(uint32_t port, const char *hex, size_t payload)
{
    static const char *const actions[] = {"drop", "answer", "forward"};
    uint8_t bytes[VSOCK_HEADER];
    struct vsock_header header;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        unsigned value;
        if (sscanf(hex + 2 * i, "%2x", &value) != 1) {
            exit(2);
        }
        bytes[i] = (uint8_t)value;
    }
    vsock_read(&header, bytes);
    struct vsock_verdict verdict = vsock_judge(&host.vsock, &state, port, &header, payload);
    if (verdict.action == VSOCK_ANSWER) {
        header = vsock_answer(&header);
    }
    printf("%s %s %u ", actions[verdict.action], vsock_reason_name(verdict.reason), verdict.to);
    print_header(&header);
    puts("");
}

static void configure(const char *path)
{
    const char *problem = "not read";
    if (config_read(&host, path)) {
        problem = vsock_init(&state, &host.vsock);
    }
    for (uint32_t port = 0; !problem && port < host.vsock.port_count; port++) {
        vsock_set_link(&host.vsock, &state, port, VSOCK_UP);
    }
    puts(problem ? problem : "ok");
}

static void print_resets(uint32_t port)
{
    struct vsock_header header;
    while (vsock_next_reset(&host.vsock, &state, port, &header)) {
        print_header(&header);
        printf(" ");
    }
    puts("");
}

int main(void)
{
    char line[1024];
    while (fgets(line, sizeof(line), stdin)) {
        char text[512] = "";
        unsigned long first = 0;
        unsigned long second = 0;
        if (sscanf(line, "config %511s", text) == 1) {
            configure(text);
        } else if (sscanf(line, "link %lu %lu", &first, &second) == 2) {
            vsock_set_link(&host.vsock, &state, (uint32_t)first, (enum vsock_link)second);
            puts("ok");
        } else if (sscanf(line, "packet %lu %511s %lu", &first, text, &second) == 3) {
            judge((uint32_t)first, text, second);
        } else if (sscanf(line, "resets %lu", &first) == 1) {
            print_resets((uint32_t)first);
        } else if (strcmp(line, "reasons\n") == 0) {
            for (int reason = 0; reason < VSOCK_REASON_COUNT; reason++) {
                printf("%s ", vsock_reason_name((enum vsock_reason)reason));
            }
            puts(vsock_reason_name(VSOCK_REASON_COUNT));
        } else {
            return 2;
        }
        fflush(stdout);
    }
    return 0;
}
