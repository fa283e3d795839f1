/* SPDX-License-Identifier: BSD-2-Clause */

/* The counters as one line of JSON. */
#ifndef VSWITCH_HOST_REPORT_H
#define VSWITCH_HOST_REPORT_H

#include <stdio.h>

#include "hub.h"

/*
 * For each port: connected, connections (how often), rx_frames, rx_bytes (in from the guest), tx_frames,
 * tx_bytes (out to it), queued_bytes and queued_peak_bytes (waiting for it, length prefixes included),
 * lost_bytes (waiting when it went away), blocked (it is not read at the moment), drops {REASON: frames from
 * it}, reasons with 0 left out.
 */
void report_write(FILE *file, const struct hub *hub);

/* Writes aside and renames, so that a reader never sees half a report. False after a line on stderr. */
bool report_save(const char *path, const struct hub *hub);

#endif
