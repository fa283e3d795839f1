/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Attacks on the kernel itself: calls with the numbers of its own system calls, the counters of the
 * processor, programs of 32 bits, which a guest's kernel can run at EL0 where the processor knows them.
 */
#ifndef HOSTILE_KERNEL_H
#define HOSTILE_KERNEL_H

#include "hostile_driver.h"

/* sel4/syscall.h of the SDK: system calls are -1 to -11, debug and benchmark calls follow down to -33. */
#define DEBUG_PUT_CHAR (-12)
#define DEBUG_HALT (-14)
#define LAST_CALL (-40)
#define FORGED_LINE "\r\nclient| said by another\r\n"

/* An HVC with these registers, x0 first; its x0 afterwards. */
static inline uint64_t kernel_call(int64_t number, const uint64_t x[7])
{
    register uint64_t x7 __asm__("x7") = (uint64_t)number;
    uint64_t answer;
    __asm__ volatile("ldp x0, x1, [%1]\n"
                     "ldp x2, x3, [%1, #16]\n"
                     "ldp x4, x5, [%1, #32]\n"
                     "ldr x6, [%1, #48]\n"
                     "hvc #0\n"
                     "mov %0, x0"
                     : "=r"(answer), "+r"(x7)
                     : "r"(x)
                     : "memory", "x0", "x1", "x2", "x3", "x4", "x5", "x6");
    return answer;
}

static inline void forge_a_line(void)
{
    for (const char *text = FORGED_LINE; *text != 0; text++) {
        kernel_call(DEBUG_PUT_CHAR, (const uint64_t[7]){(uint8_t)*text});
    }
}

static inline void halt_the_kernel(void)
{
    kernel_call(DEBUG_HALT, (const uint64_t[7]){0});
}

static uint32_t kernel_calls_made, kernel_calls_refused, kernel_calls_kept;

/* One call with garbage; x0 is no function of PSCI. */
static inline void try_kernel_call(int64_t number)
{
    uint64_t x[7];
    for (uint32_t i = 0; i < 7; i++) {
        x[i] = below(2) ? awkward() : any();
    }
    x[0] &= ~0x80000000ULL;
    uint64_t answer = kernel_call(number, x);
    kernel_calls_made++;
    kernel_calls_refused += answer == UINT64_MAX;
    kernel_calls_kept += answer == x[0];
}

/* Every number that any configuration of the kernel has for a call, its neighbours, and any number. */
static inline void make_kernel_calls(void)
{
    for (uint32_t i = 0; i < 8; i++) {
        for (int64_t number = LAST_CALL; number <= -LAST_CALL; number++) {
            try_kernel_call(number);
        }
        for (uint32_t j = 0; j < 64; j++) {
            try_kernel_call((int64_t)(below(2) ? any() : (uint64_t)(int32_t)any()));
        }
    }
    forge_a_line();
    halt_the_kernel();
    say_number("hostile: kernel calls ", kernel_calls_made, "");
    say_number(" refused ", kernel_calls_refused, "");
    say_number(" without effect ", kernel_calls_kept, "\n");
}

/* What the counters of the processor give away: reset, enabled for everybody, read across a loop. */
static inline void count_cycles(void)
{
    uint64_t control, before, after;
    __asm__ volatile("msr pmuserenr_el0, %0\n"
                     "msr pmccfiltr_el0, %1\n" /* also what EL2 does */
                     "msr pmcntenset_el0, %2\n"
                     "msr pmcr_el0, %3\nisb" ::"r"(0xfUL),
                     "r"(1UL << 27), "r"(1UL << 31), "r"(7UL));
    __asm__ volatile("mrs %0, pmcr_el0\nmrs %1, pmccntr_el0" : "=r"(control), "=r"(before));
    for (volatile uint32_t i = 0; i < 10000; i++) {
    }
    __asm__ volatile("mrs %0, pmccntr_el0" : "=r"(after));
    say_number("hostile: counters ", control >> 11 & 0x1f, "");
    say_number(" control ", control & 1, "");
    say_number(" cycles ", after - before, "\n");
}

#define SVC32 0xef000000u /* svc #0 */

/* Where EL1 goes on when a program of 32 bits calls it. */
extern uint64_t back_from_32_bit;
uint64_t back_from_32_bit;

/* Runs a program of AArch32 until its SVC. Of registers that it has, it may use r0 to r14. */
static inline void run_32_bit(const uint32_t *program, uint64_t r0)
{
    enum { USER_ALL_MASKED = 0x1d0 };
    register uint64_t x0 __asm__("x0") = r0;
    register uint64_t x19 __asm__("x19") = (uint64_t)program;
    register uint64_t x20 __asm__("x20") = USER_ALL_MASKED;
    register uint64_t x21 __asm__("x21") = (uint64_t)&back_from_32_bit;
    __asm__ volatile("adr x9, 1f\n"
                     "str x9, [x21]\n"
                     "msr elr_el1, x19\n"
                     "msr spsr_el1, x20\n"
                     "isb\n"
                     "eret\n"
                     "1:\n"
                     : "+r"(x0)
                     : "r"(x19), "r"(x20), "r"(x21)
                     : "memory", "cc", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11",
                       "x12", "x13", "x14", "x15", "x16", "x17", "x18", "x30");
}

/* Each meets the kernel in another way: an interrupt, a trap of WFI, memory that is not there, counters,
 * debug registers. */
static inline void run_32_bit_programs(void)
{
    static const uint32_t nothing[] = {SVC32};
    static const uint32_t loop[] = {0xe2500001u /* subs r0, #1 */, 0x1afffffdu /* bne */, SVC32};
    static const uint32_t sleep[] = {0xe320f003u /* wfi */, SVC32};
    static const uint32_t load[] = {0xe5901000u /* ldr r1, [r0] */, SVC32};
    static const uint32_t store[] = {0xe5801000u /* str r1, [r0] */, SVC32};
    static const uint32_t count[] = {0xee190f1du /* mrc p15, 0, r0, c9, c13, 0 */, SVC32};
    static const uint32_t debug[] = {0xee100e11u /* mrc p14, 0, r0, c0, c1, 0 */, SVC32};
    /* No table of these: the image is linked for another address than it runs at. */
    say("hostile: 32 bits: nothing\n");
    run_32_bit(nothing, 0);
    say("hostile: 32 bits: a loop\n");
    run_32_bit(loop, 100000000);
    say("hostile: 32 bits: sleep\n");
    set_alarm_clock();
    run_32_bit(sleep, 0);
    stop_alarm_clock();
    say("hostile: 32 bits: a load\n");
    run_32_bit(load, 0x0ff00000);
    say("hostile: 32 bits: a store\n");
    run_32_bit(store, NET);
    say("hostile: 32 bits: counters\n");
    run_32_bit(count, 0);
    say("hostile: 32 bits: debug registers\n");
    run_32_bit(debug, 0);
    say("hostile: 32 bits: all over\n");
}

#endif
