/* SPDX-License-Identifier: BSD-2-Clause */
#include "counts.h"
#include "timer.h"
#include "vmm.h"

#define EARLY_PART 100u /* of a second */

void console_notify(void)
{
    vmm.early_due = TIMER_NEVER;
    count(COUNTS_TO_CONSOLE);
    microkit_notify(vmm_config.console[0].channel);
}

void console_answer(void)
{
    if (vmm_config.console[0].present) {
        pulse_answer(&vmm_config.console[0].ring->pulse);
    }
}

void console_early(uint8_t byte)
{
    /* Bytes that find the ring full are lost: the VMM must not wait for the console. A notification per byte
     * would cost more than all the other work, and on most systems it crosses cores. */
    bool full = charq_write(&vmm.console[0].out, &byte, 1) == 0;
    if (full || byte == '\n') {
        console_notify();
    } else if (vmm.early_due == TIMER_NEVER) {
        vmm.early_due = timer_now() + timer_frequency() / EARLY_PART;
    }
}

static void text(const char *s)
{
    uint32_t n = 0;
    while (s[n] != 0) {
        n++;
    }
    charq_write_keeping(&vmm.console[0].out, (const uint8_t *)s, n, 0);
}

static void begin(void)
{
    text("\r\nvmm ");
    text(vmm_config.name);
    text(": ");
}

static void end(void)
{
    text("\r\n");
    console_notify();
}

static void decimal(uint64_t value)
{
    char digits[21];
    uint32_t at = sizeof(digits) - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    text(digits + at);
}

void log_line(const char *line)
{
    if (vmm_config.console[0].present) {
        begin();
        text(line);
        end();
    }
}

void log_decimal(const char *before, uint64_t value, const char *after)
{
    if (vmm_config.console[0].present) {
        begin();
        text(before);
        decimal(value);
        text(after);
        end();
    }
}

void log_hex(const char *line, uint64_t value)
{
    char digits[] = " 0x0000000000000000";
    if (!vmm_config.console[0].present) {
        return;
    }
    for (uint32_t i = 0; i < 16; i++) {
        digits[3 + i] = "0123456789abcdef"[(value >> (60 - 4 * i)) & 0xf];
    }
    begin();
    text(line);
    text(digits);
    end();
}

static void item(uint64_t value, const char *what)
{
    decimal(value);
    text(what);
}

void log_breaches(void)
{
    /* Linux causes a few of these, too. */
    const uint64_t first = 64;
    const struct virtio_device *net = vmm_config.net.cid != 0 ? &vmm.vsock.dev : &vmm.net.dev;
    const struct virtio_device *consoles[VMM_CONSOLES] = {&vmm.console[0].dev, &vmm.console[1].dev};
    uint64_t registers = vmm.gic.bad_accesses + net->bad_accesses;
    uint64_t queues = net->breaches;
    uint64_t frames =
        vmm.net.counters.tx_malformed + vmm.net.counters.tx_oversize + vmm.vsock.counters.tx_malformed;
    for (uint32_t i = 0; i < VMM_CONSOLES; i++) {
        registers += consoles[i]->bad_accesses;
        queues += consoles[i]->breaches;
    }
    uint64_t sum = registers + queues + frames + vmm.stray_accesses + vmm.unknown_traps;
    if (sum < first || sum < vmm.next_report || !vmm_config.console[0].present) {
        return;
    }
    vmm.next_report = 2 * sum;
    begin();
    item(registers, " bad register accesses, ");
    item(queues, " broken queues, ");
    item(frames, " bad frames, ");
    item(vmm.stray_accesses, " accesses to nothing, ");
    item(vmm.unknown_traps, " unknown traps so far");
    end();
}
