/* SPDX-License-Identifier: BSD-2-Clause */
#include "mux_frame.h"

#define META_AT 2u /* within the tail: length, sequence, flag */
#define META_DIGITS 4u
#define CHECK_AT 6u /* the checksum */
#define CHECK_DIGITS 6u
#define NO_DIGIT 64u

static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/";

static uint32_t value_of(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - (uint32_t)'0';
    }
    if (digit >= 'a' && digit <= 'z') {
        return 10u + digit - 'a';
    }
    if (digit >= 'A' && digit <= 'Z') {
        return 36u + digit - 'A';
    }
    return digit == '+' ? 62u : digit == '/' ? 63u : NO_DIGIT;
}

uint32_t frame_port_of_key(uint8_t key)
{
    return value_of(key);
}

/* CRC-32 of ISO 3309, four bits at a time: 64 bytes of table, and the serial line is slower. */
static uint32_t crc32(const uint8_t *bytes, uint32_t n)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t crc = 0xffffffff;
    for (uint32_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ table[crc & 0xf];
        crc = (crc >> 4) ^ table[crc & 0xf];
    }
    return ~crc;
}

static void put_number(uint8_t *out, uint32_t count, uint32_t value)
{
    for (uint32_t i = count; i-- > 0; value >>= 6) {
        out[i] = (uint8_t)digits[value & 63u];
    }
}

/* False when one is not a digit. */
static bool get_number(const uint8_t *from, uint32_t count, uint64_t *value)
{
    *value = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t digit = value_of(from[i]);
        if (digit == NO_DIGIT) {
            return false;
        }
        *value = *value << 6 | digit;
    }
    return true;
}

uint32_t frame_escape(uint8_t byte, bool raw, uint8_t *out)
{
    static const char hex[] = "0123456789abcdef";
    bool printable = (byte >= 0x20 && byte < 0x7f) || byte == '\t';
    if (byte == '\\') {
        out[0] = out[1] = byte;
        return 2;
    }
    if (byte != FRAME_MARK && byte != '\n' && (printable || raw)) {
        out[0] = byte;
        return 1;
    }
    out[0] = '\\';
    out[1] = 'x';
    out[2] = (uint8_t)hex[byte >> 4];
    out[3] = (uint8_t)hex[byte & 0xf];
    return 4;
}

static uint32_t hex_value(uint8_t digit)
{
    uint32_t value = value_of(digit);
    return value < 16 ? value : NO_DIGIT;
}

uint32_t frame_unescape(uint8_t *body, uint32_t n)
{
    uint32_t length = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (body[i] != '\\') {
            body[length++] = body[i];
        } else if (n - i >= 2 && body[i + 1] == '\\') {
            body[length++] = body[++i];
        } else if (n - i >= 4 && body[i + 1] == 'x' && hex_value(body[i + 2]) != NO_DIGIT &&
                   hex_value(body[i + 3]) != NO_DIGIT) {
            body[length++] = (uint8_t)(hex_value(body[i + 2]) << 4 | hex_value(body[i + 3]));
            i += 3;
        } else {
            return UINT32_MAX;
        }
    }
    return length;
}

void frame_seal(uint8_t *frame, uint32_t n, const struct frame_tail *tail)
{
    uint32_t meta = tail->length << 16 | (tail->sequence % FRAME_SEQUENCES) << 1 | (tail->flag ? 1u : 0u);
    frame[n] = FRAME_MARK;
    frame[n + 1] = (uint8_t)digits[tail->port];
    put_number(frame + n + META_AT, META_DIGITS, meta);
    put_number(frame + n + CHECK_AT, CHECK_DIGITS, crc32(frame, n + CHECK_AT));
}

bool frame_open(const uint8_t *frame, uint32_t n, struct frame_tail *tail)
{
    uint64_t meta, check;
    if (n < FRAME_TAIL) {
        return false;
    }
    const uint8_t *end = frame + n - FRAME_TAIL;
    if (end[0] != FRAME_MARK || !get_number(end + META_AT, META_DIGITS, &meta) ||
        !get_number(end + CHECK_AT, CHECK_DIGITS, &check)) {
        return false;
    }
    tail->port = frame_port_of_key(end[1]);
    tail->length = (uint32_t)(meta >> 16);
    tail->sequence = (uint32_t)(meta >> 1) % FRAME_SEQUENCES;
    tail->flag = (meta & 1) != 0;
    return tail->port < FRAME_MAX_PORTS && check == crc32(frame, n - CHECK_DIGITS);
}
