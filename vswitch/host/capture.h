/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Captures every frame and vsock packet that comes in, dropped ones included, as pcapng
 * (draft-ietf-opsawg-pcapng): one interface for each Ethernet and each vsock device, and a comment on what
 * was dropped. The RSTs that the switch makes are captured too, with a comment, as packets of the port that
 * gets them.
 */
#ifndef VSWITCH_HOST_CAPTURE_H
#define VSWITCH_HOST_CAPTURE_H

#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>

#include "config.h"

/* Bytes of a capture: guests choose how much they send. */
#ifndef CAPTURE_MAX
#define CAPTURE_MAX (1ull << 30)
#endif

/* struct af_vsockmon_hdr, which LINKTYPE_VSOCK has in front of virtio's header. */
#define CAPTURE_VSOCK_HEADER 32u

struct capture {
    FILE *file; /* NULL: not capturing */
    uint64_t size;
    uint32_t vsock_interfaces; /* number of the first one */
};

/* False after it has said on stderr why the file cannot be written. */
bool capture_open(struct capture *capture, const char *path, const struct host_config *host);
void capture_flush(struct capture *capture);
void capture_close(struct capture *capture);

/* Writes one frame as captured on `in_port`. A file that cannot be written any more, or would have over
 * CAPTURE_MAX bytes, ends the capture with a log line. */
void capture_write(struct capture *capture, uint32_t in_port, const uint8_t *frame, uint32_t length,
                   struct vswitch_verdict verdict);

/* The same for a vsock packet of a port; the pieces hold at least `length` bytes of payload. comment: what
 * the switch did with it, or "". To be called only while `file` is open. */
void capture_packet(struct capture *capture, uint32_t port, const struct vsock_header *header,
                    const struct iovec *payload, uint32_t length, const char *comment);

static inline void capture_frame(struct capture *capture, uint32_t in_port, const uint8_t *frame,
                                 uint32_t length, struct vswitch_verdict verdict)
{
    if (capture->file) {
        capture_write(capture, in_port, frame, length, verdict);
    }
}

#endif
