/* SPDX-License-Identifier: BSD-2-Clause */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* Names need no escaping: the configuration admits letters, digits and -_. only. */
static void write_ethernet(FILE *file, const struct hub *hub, const struct port *port)
{
    const struct vswitch_counters *counters = &hub->state.counters[port->number];
    const char *comma = "";
    fprintf(file, "\"connected\": %s, \"connections\": %" PRIu64,
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
    fprintf(file, "}");
}

static void write_vsock(FILE *file, const struct vsock_hub *hub, const struct vsock_device *device)
{
    const struct vsock_counters *counters = &hub->state.counters[device->number];
    const char *comma = "";
    fprintf(file, "\"vsock\": {\"connected\": %s, \"links\": %" PRIu64, device->running ? "true" : "false",
            device->links);
    fprintf(file, ", \"rx_packets\": %" PRIu64 ", \"rx_bytes\": %" PRIu64, counters->rx_packets,
            counters->rx_bytes);
    fprintf(file, ", \"tx_packets\": %" PRIu64 ", \"tx_bytes\": %" PRIu64, counters->tx_packets,
            counters->tx_bytes);
    fprintf(file, ", \"queued_bytes\": %zu, \"queued_peak_bytes\": %zu", queue_used(&device->waiting),
            device->waiting_peak);
    fprintf(file, ", \"blocked\": %s, \"open\": %" PRIu32 ", \"faults\": %" PRIu64,
            device->blocked ? "true" : "false", hub->state.open[device->number], device->faults);
    fprintf(file, ", \"drops\": {");
    for (uint32_t reason = 0; reason < VSOCK_REASON_COUNT; reason++) {
        if (counters->drops[reason]) {
            fprintf(file, "%s\"%s\": %" PRIu64, comma, vsock_reason_name((enum vsock_reason)reason),
                    counters->drops[reason]);
            comma = ", ";
        }
    }
    fprintf(file, "}}");
}

/* The vsock device of the same name, or NULL. */
static const struct vsock_device *find_vsock(const struct vsock_hub *vsock, const char *name)
{
    for (uint32_t port = 0; port < vsock->config->port_count; port++) {
        if (strcmp(vsock->devices[port].name, name) == 0) {
            return &vsock->devices[port];
        }
    }
    return NULL;
}

static bool has_ethernet(const struct hub *hub, const char *name)
{
    for (uint32_t port = 0; port < hub->config->port_count; port++) {
        if (strcmp(hub->ports[port].name, name) == 0) {
            return true;
        }
    }
    return false;
}

void report_write(FILE *file, const struct hub *hub, const struct vsock_hub *vsock)
{
    const char *comma = "";
    fprintf(file, "{\"ports\": {");
    for (uint32_t port = 0; port < hub->config->port_count; port++) {
        const struct vsock_device *device = find_vsock(vsock, hub->ports[port].name);
        fprintf(file, "%s\"%s\": {", comma, hub->ports[port].name);
        write_ethernet(file, hub, &hub->ports[port]);
        if (device) {
            fprintf(file, ", ");
            write_vsock(file, vsock, device);
        }
        fprintf(file, "}");
        comma = ", ";
    }
    for (uint32_t port = 0; port < vsock->config->port_count; port++) {
        if (!has_ethernet(hub, vsock->devices[port].name)) {
            fprintf(file, "%s\"%s\": {", comma, vsock->devices[port].name);
            write_vsock(file, vsock, &vsock->devices[port]);
            fprintf(file, "}");
            comma = ", ";
        }
    }
    fprintf(file, "}}\n");
}

bool report_save(const char *path, const struct hub *hub, const struct vsock_hub *vsock)
{
    char aside[PATH_MAX];
    if (snprintf(aside, sizeof(aside), "%s.new", path) >= (int)sizeof(aside)) {
        fprintf(stderr, "vswitch: %s: %s\n", path, strerror(ENAMETOOLONG));
        return false;
    }
    FILE *file = fopen(aside, "we");
    bool written = file != NULL;
    if (file) {
        report_write(file, hub, vsock);
        written = !ferror(file);
        written = fclose(file) == 0 && written && rename(aside, path) == 0;
    }
    if (!written) {
        fprintf(stderr, "vswitch: %s: %s\n", aside, strerror(errno));
        unlink(aside);
    }
    return written;
}
