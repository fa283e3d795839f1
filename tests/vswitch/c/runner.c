/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Drives the core from lines on standard input, one answer a line:
 *     config FILE       reads a host configuration            -> ok, or what is wrong
 *     link PORT UP      0 or 1                                -> ok
 *     frame PORT HEX [FLAGS GSO_TYPE HDR_LEN GSO_SIZE CSUM_START CSUM_OFFSET]
 *                       judges a frame; `-` is an empty one   -> PORTS(hex) REASON, and the six as delivered
 *     counters PORT                                           -> rx_frames rx_bytes NAME=COUNT...
 *     reasons                                                 -> every name
 * Each frame is judged in a heap block of exactly its length, so that the address sanitizer sees any read
 * behind it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../vswitch/host/config.h"

static struct host_config host;
static struct vswitch_state state;

static uint8_t nibble(char digit)
{
    return (uint8_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

static uint16_t next_number(char **rest)
{
    const char *word = strtok_r(NULL, " ", rest);
    return (uint16_t)(word ? atoi(word) : 0);
}

static struct vswitch_offload read_offload(char **rest)
{
    struct vswitch_offload offload = {.flags = (uint8_t)next_number(rest)};
    offload.gso_type = (uint8_t)next_number(rest);
    offload.hdr_len = next_number(rest);
    offload.gso_size = next_number(rest);
    offload.csum_start = next_number(rest);
    offload.csum_offset = next_number(rest);
    return offload;
}

static void judge(uint32_t port, const char *hex, struct vswitch_offload offload)
{
    size_t length = hex[0] == '-' ? 0 : strlen(hex) / 2;
    uint8_t *frame = malloc(length ? length : 1);
    if (!frame) {
        abort();
    }
    for (size_t i = 0; i < length; i++) {
        frame[i] = (uint8_t)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
    }
    struct vswitch_verdict verdict = vswitch_decide(&host.config, &state, port, frame, length, &offload);
    free(frame);
    printf("%" PRIx64 " %s %d %u %u %u %u %u %u\n", verdict.ports, vswitch_reason_name(verdict.reason),
           verdict.asks, offload.flags, offload.gso_type, offload.hdr_len, offload.gso_size,
           offload.csum_start, offload.csum_offset);
}

static void print_counters(uint32_t port)
{
    const struct vswitch_counters *counters = &state.counters[port];
    printf("%" PRIu64 " %" PRIu64, counters->rx_frames, counters->rx_bytes);
    for (int reason = 0; reason < VSWITCH_REASON_COUNT; reason++) {
        if (counters->drops[reason]) {
            printf(" %s=%" PRIu64, vswitch_reason_name((enum vswitch_reason)reason), counters->drops[reason]);
        }
    }
    printf("\n");
}

static void read_config(const char *path)
{
    const char *problem = "not read";
    if (config_read(&host, path)) {
        problem = vswitch_init(&state, &host.config);
    }
    puts(problem ? problem : "ok");
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    for (ssize_t length; (length = getline(&line, &size, stdin)) > 0;) {
        line[strcspn(line, "\n")] = '\0';
        char *rest = line;
        const char *verb = strtok_r(rest, " ", &rest);
        const char *first = strtok_r(NULL, " ", &rest);
        const char *second = strtok_r(NULL, " ", &rest);
        if (!verb) {
            return 2;
        }
        if (strcmp(verb, "config") == 0 && first) {
            read_config(first);
        } else if (strcmp(verb, "link") == 0 && second) {
            vswitch_set_link(&state, (uint32_t)atoi(first), second[0] == '1');
            puts("ok");
        } else if (strcmp(verb, "frame") == 0 && second) {
            judge((uint32_t)atoi(first), second, read_offload(&rest));
        } else if (strcmp(verb, "counters") == 0 && first) {
            print_counters((uint32_t)atoi(first));
        } else if (strcmp(verb, "reasons") == 0) {
            for (int reason = 0; reason < VSWITCH_REASON_COUNT; reason++) {
                printf("%s ", vswitch_reason_name((enum vswitch_reason)reason));
            }
            puts(vswitch_reason_name(VSWITCH_REASON_COUNT));
        } else {
            return 2;
        }
        fflush(stdout);
    }
    free(line);
    return 0;
}
