/* SPDX-License-Identifier: BSD-2-Clause */

/* The counters as one line of JSON. */
#ifndef VSWITCH_HOST_REPORT_H
#define VSWITCH_HOST_REPORT_H

#include <stdio.h>

#include "hub.h"
#include "vsock_hub.h"

/*
 * For each port: connected, connections (how often), rx_frames, rx_bytes (in from the guest), tx_frames,
 * tx_bytes (out to it), queued_bytes and queued_peak_bytes (waiting for it, length prefixes included),
 * lost_bytes (waiting when it went away), blocked (it is not read at the moment), drops {REASON: frames from
 * it}, reasons with 0 left out. A port with a vsock device has a member vsock: connected (its driver runs
 * it), links (how often a QEMU has connected), rx_packets, rx_bytes, tx_packets, tx_bytes (payload),
 * queued_bytes, queued_peak_bytes, blocked, open (connections), faults (how often it was cut off), drops.
 */
void report_write(FILE *file, const struct hub *hub, const struct vsock_hub *vsock);

/* Writes aside and renames, so that a reader never sees half a report. False after a line on stderr. */
bool report_save(const char *path, const struct hub *hub, const struct vsock_hub *vsock);

#endif
