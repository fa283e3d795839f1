/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm.h"

void console_bytes(const uint8_t *bytes, uint32_t n)
{
    /* What finds no room is lost: the monitor must not wait for the console. */
    charq_write(&vmm.console[0].out, bytes, n);
    microkit_notify(vmm_config.console[0].channel);
}

static void text(const char *s)
{
    uint32_t n = 0;
    while (s[n] != 0) {
        n++;
    }
    charq_write(&vmm.console[0].out, (const uint8_t *)s, n);
}

void log_line(const char *line)
{
    if (!vmm_config.console[0].present) {
        return;
    }
    text("\r\nvmm ");
    text(vmm_config.name);
    text(": ");
    text(line);
    console_bytes((const uint8_t *)"\r\n", 2);
}

void log_number(const char *line, uint64_t value)
{
    char digits[19] = " 0x0000000000000000";
    char out[96];
    uint32_t n = 0;
    while (n < sizeof(out) - sizeof(digits) - 1 && line[n] != 0) {
        out[n] = line[n];
        n++;
    }
    for (uint32_t i = 0; i < 16; i++) {
        digits[3 + i] = "0123456789abcdef"[(value >> (60 - 4 * i)) & 0xf];
    }
    for (uint32_t i = 0; i < sizeof(digits); i++) {
        out[n++] = digits[i];
    }
    out[n] = 0;
    log_line(out);
}
