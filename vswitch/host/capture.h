/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Captures every frame that comes in, dropped ones included, as pcapng (draft-ietf-opsawg-pcapng): one
 * interface a port, and a comment on each frame that was dropped.
 */
#ifndef VSWITCH_HOST_CAPTURE_H
#define VSWITCH_HOST_CAPTURE_H

#include <stdint.h>
#include <stdio.h>

#include "../core/vswitch.h"

/* Bytes of a capture: guests choose how much they send. */
#ifndef CAPTURE_MAX
#define CAPTURE_MAX (1ull << 30)
#endif

struct capture {
    FILE *file; /* NULL: not capturing */
    uint64_t size;
};

/* False after it has said on stderr why the file cannot be written. */
bool capture_open(struct capture *capture, const char *path, const struct vswitch_config *config);
void capture_flush(struct capture *capture);
void capture_close(struct capture *capture);

/* Writes one frame as captured on `in_port`. A file that cannot be written any more, or would have over
 * CAPTURE_MAX bytes, ends the capture with a log line. */
void capture_write(struct capture *capture, uint32_t in_port, const uint8_t *frame, uint32_t length,
                   struct vswitch_verdict verdict);

static inline void capture_frame(struct capture *capture, uint32_t in_port, const uint8_t *frame,
                                 uint32_t length, struct vswitch_verdict verdict)
{
    if (capture->file) {
        capture_write(capture, in_port, frame, length, verdict);
    }
}

#endif
