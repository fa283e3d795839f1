/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console multiplexer as a shared library, for the tests that run it against its other end
 * (tests/machines/ test_console_pair.py): guests' ends of the rings, and the serial line's bytes.
 */
#include "mux.h"

#define PORTS 6u

static struct mux mux;
static struct charq_port rings[PORTS];
static struct charq_end out[PORTS], in[PORTS];
static char names[PORTS][MUX_NAME + 2];
static uint32_t ports;
static uint64_t now; /* passes fast: these tests are not about the pace */

void pair_start(uint64_t patience);
uint32_t pair_add(const char *name, uint32_t length, bool programs);
uint32_t pair_print(uint32_t port, const uint8_t *bytes, uint32_t n);
uint32_t pair_read(uint32_t port, uint8_t *bytes, uint32_t n);
uint32_t pair_line(uint8_t *bytes, uint32_t n);
bool pair_type(uint8_t byte, uint64_t at);

void pair_start(uint64_t patience)
{
    memset(rings, 0, sizeof(rings));
    mux_init(&mux, patience, patience);
    ports = 0;
}

uint32_t pair_add(const char *name, uint32_t length, bool programs)
{
    if (ports == PORTS || length > MUX_NAME + 1) {
        return MUX_MAX_PORTS;
    }
    memcpy(names[ports], name, length);
    names[ports][length] = 0;
    if (mux_add(&mux, names[ports], programs, &rings[ports]) != ports) {
        return MUX_MAX_PORTS;
    }
    charq_attach(&out[ports], &rings[ports].out, rings[ports].out_bytes, CHARQ_OUT_BYTES);
    charq_attach(&in[ports], &rings[ports].in, rings[ports].in_bytes, CHARQ_IN_BYTES);
    return ports++;
}

uint32_t pair_print(uint32_t port, const uint8_t *bytes, uint32_t n)
{
    return charq_write(&out[port], bytes, n);
}

uint32_t pair_read(uint32_t port, uint8_t *bytes, uint32_t n)
{
    return charq_read(&in[port], bytes, n);
}

uint32_t pair_line(uint8_t *bytes, uint32_t n)
{
    uint32_t count = 0;
    for (int byte = 0; count < n && (byte = mux_next(&mux, now += 1000)) >= 0; count++) {
        bytes[count] = (uint8_t)byte;
    }
    return count;
}

bool pair_type(uint8_t byte, uint64_t at)
{
    return mux_input(&mux, byte, at);
}
