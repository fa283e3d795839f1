/* SPDX-License-Identifier: BSD-2-Clause */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* Names need no escaping: the configuration admits letters, digits and -_. only. */
static void write_port(FILE *file, const struct hub *hub, const struct port *port)
{
    const struct vswitch_counters *counters = &hub->state.counters[port->number];
    const char *comma = "";
    fprintf(file, "\"%s\": {\"connected\": %s, \"connections\": %" PRIu64, port->name,
            port->link >= 0 && !port->hung_up ? "true" : "false", port->connections);
    fprintf(file, ", \"rx_frames\": %" PRIu64 ", \"rx_bytes\": %" PRIu64, counters->rx_frames,
            counters->rx_bytes);
    fprintf(file, ", \"tx_frames\": %" PRIu64 ", \"tx_bytes\": %" PRIu64, counters->tx_frames,
            counters->tx_bytes);
    fprintf(file, ", \"queued_bytes\": %zu, \"queued_peak_bytes\": %zu", queue_used(&port->queue),
            port->queued_peak);
    fprintf(file, ", \"lost_bytes\": %" PRIu64 ", \"blocked\": %s", port->lost_bytes,
            port->pending ? "true" : "false");
    fprintf(file, ", \"drops\": {");
    for (uint32_t reason = 0; reason < VSWITCH_REASON_COUNT; reason++) {
        if (counters->drops[reason]) {
            fprintf(file, "%s\"%s\": %" PRIu64, comma, vswitch_reason_name((enum vswitch_reason)reason),
                    counters->drops[reason]);
            comma = ", ";
        }
    }
    fprintf(file, "}}");
}

void report_write(FILE *file, const struct hub *hub)
{
    fprintf(file, "{\"ports\": {");
    for (uint32_t port = 0; port < hub->config->port_count; port++) {
        fprintf(file, "%s", port ? ", " : "");
        write_port(file, hub, &hub->ports[port]);
    }
    fprintf(file, "}}\n");
}

bool report_save(const char *path, const struct hub *hub)
{
    char aside[PATH_MAX];
    if (snprintf(aside, sizeof(aside), "%s.new", path) >= (int)sizeof(aside)) {
        fprintf(stderr, "vswitch: %s: %s\n", path, strerror(ENAMETOOLONG));
        return false;
    }
    FILE *file = fopen(aside, "we");
    bool written = file != NULL;
    if (file) {
        report_write(file, hub);
        written = !ferror(file);
        written = fclose(file) == 0 && written && rename(aside, path) == 0;
    }
    if (!written) {
        fprintf(stderr, "vswitch: %s: %s\n", aside, strerror(errno));
        unlink(aside);
    }
    return written;
}
