/* SPDX-License-Identifier: BSD-2-Clause */
#include "capture.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Block and option numbers of the pcapng specification, sections 4.1 to 4.3. */
#define BLOCK_SECTION 0x0a0d0d0au
#define BLOCK_INTERFACE 1u
#define BLOCK_PACKET 6u
#define BYTE_ORDER_MAGIC 0x1a2b3c4du
#define LINKTYPE_ETHERNET 1u
#define LINKTYPE_VSOCK 271u
#define OPTION_END 0u
#define OPTION_COMMENT 1u
#define OPTION_INTERFACE_NAME 2u

static uint32_t padded(uint32_t length)
{
    return (length + 3u) & ~3u;
}

static void put_word(FILE *file, uint32_t word)
{
    fwrite(&word, sizeof(word), 1, file);
}

static void put_padded(FILE *file, const void *bytes, uint32_t length)
{
    static const uint8_t zeros[4];
    fwrite(bytes, 1, length, file);
    fwrite(zeros, 1, padded(length) - length, file);
}

/* Code and length share a word; the file is in this machine's byte order, which the section header tells. */
static void put_text_option(FILE *file, uint16_t code, const char *text)
{
    uint16_t head[2] = {code, (uint16_t)strlen(text)};
    fwrite(head, sizeof(head), 1, file);
    put_padded(file, text, head[1]);
    put_word(file, OPTION_END);
}

static uint32_t text_option_length(const char *text)
{
    return 4u + padded((uint32_t)strlen(text)) + 4u;
}

static void end(struct capture *capture, const char *why)
{
    fprintf(stderr, "vswitch: the capture ends here: %s\n", why);
    fclose(capture->file);
    capture->file = NULL;
}

static void check(struct capture *capture)
{
    if (ferror(capture->file)) {
        end(capture, strerror(errno));
    }
}

static void put_interface(struct capture *capture, uint32_t link_type, const char *name)
{
    uint32_t length = 20 + text_option_length(name);
    put_word(capture->file, BLOCK_INTERFACE);
    put_word(capture->file, length);
    put_word(capture->file, link_type);
    put_word(capture->file, 0); /* no limit on a frame's length */
    put_text_option(capture->file, OPTION_INTERFACE_NAME, name);
    put_word(capture->file, length);
    capture->size += length;
}

bool capture_open(struct capture *capture, const char *path, const struct host_config *host)
{
    FILE *file = fopen(path, "we");
    if (!file) {
        fprintf(stderr, "vswitch: %s: %s\n", path, strerror(errno));
        return false;
    }
    capture->file = file;
    put_word(file, BLOCK_SECTION);
    put_word(file, 28);
    put_word(file, BYTE_ORDER_MAGIC);
    const uint16_t version[2] = {1, 0};
    fwrite(version, sizeof(version), 1, file);
    put_word(file, UINT32_MAX); /* the section's length, 64 bits: not known */
    put_word(file, UINT32_MAX);
    put_word(file, 28);
    capture->size = 28;
    for (uint32_t port = 0; port < host->config.port_count; port++) {
        put_interface(capture, LINKTYPE_ETHERNET, host->config.ports[port].name);
    }
    capture->vsock_interfaces = host->config.port_count;
    for (uint32_t port = 0; port < host->vsock.port_count; port++) {
        put_interface(capture, LINKTYPE_VSOCK, host->vsock.ports[port].name);
    }
    capture_flush(capture);
    return true;
}

/* Writes one packet: `head`, then as many of the pieces' bytes as `length` leaves room for. original: bytes
 * that the packet really has. comment: "" for none. */
static void put_packet(struct capture *capture, uint32_t interface, struct iovec head,
                       const struct iovec *pieces, uint32_t length, uint32_t original, const char *comment)
{
    static const uint8_t zeros[4];
    FILE *file = capture->file;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t microseconds = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
    uint32_t block = 32 + padded(length) + (comment[0] ? text_option_length(comment) : 0);
    if (capture->size + block > CAPTURE_MAX) {
        end(capture, "it has reached its largest size");
        return;
    }
    capture->size += block;
    put_word(file, BLOCK_PACKET);
    put_word(file, block);
    put_word(file, interface);
    put_word(file, (uint32_t)(microseconds >> 32));
    put_word(file, (uint32_t)microseconds);
    put_word(file, length);
    put_word(file, original);
    fwrite(head.iov_base, 1, head.iov_len, file);
    for (size_t left = length - head.iov_len; left > 0; pieces++) {
        size_t part = pieces->iov_len < left ? pieces->iov_len : left;
        fwrite(pieces->iov_base, 1, part, file);
        left -= part;
    }
    fwrite(zeros, 1, padded(length) - length, file);
    if (comment[0]) {
        put_text_option(file, OPTION_COMMENT, comment);
    }
    put_word(file, block);
    check(capture);
}

void capture_write(struct capture *capture, uint32_t in_port, const uint8_t *frame, uint32_t length,
                   struct vswitch_verdict verdict)
{
    char comment[64] = "";
    if (verdict.reason != VSWITCH_PASS) {
        snprintf(comment, sizeof(comment), "dropped: %s", vswitch_reason_name(verdict.reason));
    }
    put_packet(capture, in_port, (struct iovec){(void *)(uintptr_t)frame, length}, NULL, length, length,
               comment);
}

/* op of struct af_vsockmon_hdr (linux/vsockmon.h). */
static uint64_t kind_of(uint16_t operation)
{
    switch (operation) {
    case VSOCK_REQUEST:
    case VSOCK_RESPONSE:
        return 1; /* connect */
    case VSOCK_RST:
    case VSOCK_SHUTDOWN:
        return 2; /* disconnect */
    case VSOCK_CREDIT_UPDATE:
    case VSOCK_CREDIT_REQUEST:
        return 3; /* control */
    case VSOCK_RW:
        return 4; /* payload */
    default:
        return 0; /* unknown */
    }
}

static uint8_t *put_number(uint8_t *at, uint64_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
    return at + bytes;
}

void capture_packet(struct capture *capture, uint32_t port, const struct vsock_header *header,
                    const struct iovec *payload, uint32_t length, const char *comment)
{
    uint8_t head[CAPTURE_VSOCK_HEADER + VSOCK_HEADER] = {0};
    uint8_t *at = put_number(head, header->source_cid, 8);
    at = put_number(at, header->destination_cid, 8);
    at = put_number(at, header->source_port, 4);
    at = put_number(at, header->destination_port, 4);
    at = put_number(at, kind_of(header->operation), 2);
    at = put_number(at, 2, 2); /* the transport: virtio */
    put_number(at, VSOCK_HEADER, 2);
    vsock_write(head + CAPTURE_VSOCK_HEADER, header);
    /* A guest may put anything behind a header; of what no receiver gets, this much is enough. */
    uint32_t kept = length < VSOCK_MAX_PAYLOAD ? length : VSOCK_MAX_PAYLOAD;
    uint32_t size = (uint32_t)sizeof(head);
    uint32_t original = length < UINT32_MAX - size ? size + length : UINT32_MAX;
    put_packet(capture, capture->vsock_interfaces + port, (struct iovec){head, size}, payload, size + kept,
               original, comment);
}

void capture_flush(struct capture *capture)
{
    if (capture->file) {
        fflush(capture->file);
        check(capture);
    }
}

void capture_close(struct capture *capture)
{
    capture_flush(capture);
    if (capture->file) {
        fclose(capture->file);
        capture->file = NULL;
    }
}
