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

bool capture_open(struct capture *capture, const char *path, const struct vswitch_config *config)
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
    for (uint32_t port = 0; port < config->port_count; port++) {
        uint32_t length = 20 + text_option_length(config->ports[port].name);
        put_word(file, BLOCK_INTERFACE);
        put_word(file, length);
        put_word(file, LINKTYPE_ETHERNET);
        put_word(file, 0); /* no limit on a frame's length */
        put_text_option(file, OPTION_INTERFACE_NAME, config->ports[port].name);
        put_word(file, length);
        capture->size += length;
    }
    capture_flush(capture);
    return true;
}

void capture_write(struct capture *capture, uint32_t in_port, const uint8_t *frame, uint32_t length,
                   struct vswitch_verdict verdict)
{
    FILE *file = capture->file;
    char comment[64] = "";
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t microseconds = (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
    uint32_t block = 32 + padded(length);
    if (verdict.reason != VSWITCH_PASS) {
        snprintf(comment, sizeof(comment), "dropped: %s", vswitch_reason_name(verdict.reason));
        block += text_option_length(comment);
    }
    if (capture->size + block > CAPTURE_MAX) {
        end(capture, "it has reached its largest size");
        return;
    }
    capture->size += block;
    put_word(file, BLOCK_PACKET);
    put_word(file, block);
    put_word(file, in_port);
    put_word(file, (uint32_t)(microseconds >> 32));
    put_word(file, (uint32_t)microseconds);
    put_word(file, length);
    put_word(file, length);
    put_padded(file, frame, length);
    if (comment[0]) {
        put_text_option(file, OPTION_COMMENT, comment);
    }
    put_word(file, block);
    check(capture);
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
