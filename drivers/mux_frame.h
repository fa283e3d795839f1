/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The frames of the shared serial line, in both directions. Portable: bytes in, bytes out.
 *
 * A frame is a head, a body and a tail. The tail is a mark and eleven characters:
 *
 *     `  port  length, sequence, flag  checksum
 *     1    1             4                 6      characters
 *
 * port          the key that selects the port (0-9, a-z, A-Z)
 * length        8 bits: bytes of the body, as they are on the line
 * sequence      15 bits: counts the frames of one port
 * flag          1 bit: towards the host, a line end follows the body
 * checksum      CRC-32 (as zlib's) of all bytes of the frame before it, head included
 *
 * Numbers are written in base 64, most significant digit first, with the digits 0-9 a-z A-Z + /.
 *
 * A body contains neither the mark nor a line end, whatever a guest prints: so no text can look like a tail,
 * also when bytes of the line are lost. Which port a frame belongs to stands in the tail alone.
 */

#include "freestanding.h"

#define FRAME_BODY 240u /* bytes of the longest body */
#define FRAME_MARK '`'
#define FRAME_TAIL 12u
#define FRAME_ESCAPED 4u /* bytes of the longest escape */
#define FRAME_SEQUENCES 0x8000u
#define FRAME_MAX_PORTS 62u

struct frame_tail {
    uint32_t port;
    uint32_t length;
    uint32_t sequence;
    bool flag;
};

/* The port that a key selects; FRAME_MAX_PORTS or more when there is none. */
uint32_t frame_port_of_key(uint8_t key);

/* Writes a byte as it is in a body and returns how many bytes that takes, up to FRAME_ESCAPED. `\` is `\\`,
 * other bytes that cannot stand for themselves are `\xHH`. raw: terminal control and bytes above 0x7f stand
 * for themselves, as a person who works at a terminal needs it. */
uint32_t frame_escape(uint8_t byte, bool raw, uint8_t *out);

/* Decodes a body in place and returns its length, or UINT32_MAX when an escape makes no sense. */
uint32_t frame_unescape(uint8_t *body, uint32_t n);

/* Appends the tail to the n bytes of a frame's head and body; there is room for FRAME_TAIL more. */
void frame_seal(uint8_t *frame, uint32_t n, const struct frame_tail *tail);

/* Reads the tail that ends the n bytes of a frame. False when they are not a whole, undamaged frame. */
bool frame_open(const uint8_t *frame, uint32_t n, struct frame_tail *tail);
