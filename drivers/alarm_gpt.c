/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A general purpose timer of the i.MX 8M (Reference Manual, chapter "GPT"), counting the 24 MHz crystal. The
 * kernel of that board keeps the generic timer's EL1 physical timer to itself.
 */

#include "alarm.h"

#include "registers.h"
#include "timer.h"

enum { CR = 0x00, PR = 0x04, SR = 0x08, IR = 0x0c, OCR1 = 0x10, CNT = 0x24 };
enum {
    CR_EN = 1 << 0,
    CR_ENMOD = 1 << 1,
    CR_WAITEN = 1 << 3,
    CR_CLKSRC_24M = 5 << 6,
    CR_FRR = 1 << 9,
    CR_EN_24M = 1 << 10,
    CR_SWR = 1 << 15,
};
#define OF1 1u
/* The crystal's 24 MHz on the board; QEMU's model counts at 16 MHz, and an alarm that is late there slows
 * guests. */
static uint64_t hertz;
/* Half the range of the counter: a compare value farther off could not be told from one just passed. */
#define FARTHEST 0x7fffffffu

static void *base;

static volatile uint32_t *reg(uint32_t offset)
{
    return reg32(base, offset);
}

/* The counter's frequency against the generic timer's, over 4 ms. */
static uint64_t count_for_a_moment(void)
{
    uint64_t from = timer_now();
    uint32_t start = *reg(CNT);
    uint64_t took;
    do {
        took = timer_now() - from;
    } while (took <= timer_frequency() / 256);
    return (uint64_t)(*reg(CNT) - start) * timer_frequency() / took;
}

void alarm_start(void *registers)
{
    base = registers;
    *reg(CR) = 0;
    *reg(CR) = CR_SWR;
    /* cppcheck-suppress knownConditionTrueFalse; the hardware clears the bit when its reset is done */
    while (*reg(CR) & CR_SWR) {
    }
    *reg(IR) = 0;
    *reg(PR) = 0;
    *reg(SR) = 0x3f;
    /* Free running, from zero, and also while the cores wait for interrupts. */
    *reg(CR) = CR_CLKSRC_24M | CR_EN_24M | CR_FRR | CR_WAITEN | CR_ENMOD;
    *reg(CR) |= CR_EN;
    hertz = count_for_a_moment();
}

void alarm_set(uint64_t deadline)
{
    *reg(IR) = 0;
    if (deadline == TIMER_NEVER) {
        return;
    }
    uint64_t now = timer_now();
    uint64_t ahead = deadline > now ? deadline - now : 0;
    uint64_t frequency = timer_frequency();
    uint64_t ticks = ahead > FARTHEST ? FARTHEST : ahead * hertz / frequency + 1;
    if (ticks > FARTHEST) {
        ticks = FARTHEST;
    }
    *reg(SR) = OF1;
    uint32_t start = *reg(CNT);
    *reg(OCR1) = start + (uint32_t)ticks;
    *reg(IR) = OF1;
    /* The counter may have passed the compare value before it was written: then interrupt at the next chance.
     * Farther off each time, or a device that takes a while to notice a new value never would. */
    for (uint32_t next = 64; *reg(CNT) - start >= ticks && !(*reg(SR) & OF1); next *= 2) {
        start = *reg(CNT);
        ticks = next;
        *reg(OCR1) = start + next;
    }
}

bool alarm_is_set(void)
{
    return true; /* the registers are mapped in the timer alone */
}

void alarm_clear(void)
{
    *reg(IR) = 0;
    *reg(SR) = OF1;
}
