/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A guest that needs no kernel: starts all its vCPUs, lets them interrupt each other and sleep until their
 * timers fire, calls the firmware, and says on the early console what came of it. For QEMU's virt machine,
 * with the MMU off; linked at 0 and run wherever the monitor puts it.
 */

#include <stdint.h>

#define UART 0x09000000u
#define GICD 0x08000000u
#define GICC 0x08010000u
#define CPUS 4u
#define ROUNDS 100u

#define CPU_ON 0xc4000003u
/* QEMU's firmware still answers PSCI 0.1 under the numbers that Linux's device tree binding once gave as an
 * example. */
#define OLD_CPU_OFF 0x95c1ba5fu
#define OLD_CPU_ON 0x95c1ba60u

enum { SGI_WORK = 1, SGI_DONE = 2, TIMER = 27, NOTHING = 1023 };

__asm__(".section .head, \"ax\"\n"
        "    b start\n"
        "    .word 0\n"
        "    .quad 0, image_size, 0, 0, 0, 0\n"
        "    .ascii \"ARM\\x64\"\n"
        "    .word 0\n"
        "start:\n"
        "    mov x0, xzr\n"
        "enter:\n"
        "    adrp x1, stacks\n"
        "    add x1, x1, :lo12:stacks\n"
        "    add x2, x0, #1\n"
        "    lsl x2, x2, #12\n"
        "    add sp, x1, x2\n"
        "    cbz x0, first\n"
        "    b other\n"
        ".text\n");

extern const char enter[];
uint8_t stacks[CPUS][4096] __attribute__((aligned(4096)));
static uint64_t started[CPUS];        /* when the timer was set, in ticks */
static volatile uint64_t slept[CPUS]; /* milliseconds until its interrupt came */

void first(void);
void other(uint64_t me);

static volatile uint32_t *device(uint64_t address)
{
    return (volatile uint32_t *)address;
}

static void text(const char *s)
{
    while (*s != 0) {
        *device(UART) = (uint8_t)*s++;
    }
}

static void number(uint64_t value)
{
    for (uint32_t shift = 32; shift != 0; shift -= 4) {
        *device(UART) = (uint8_t) "0123456789abcdef"[(value >> (shift - 4)) & 0xf];
    }
}

static uint64_t call(uint64_t function, uint64_t a, uint64_t b, uint64_t c)
{
    register uint64_t x0 __asm__("x0") = function;
    register uint64_t x1 __asm__("x1") = a;
    register uint64_t x2 __asm__("x2") = b;
    register uint64_t x3 __asm__("x3") = c;
    __asm__ volatile("smc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory");
    return x0;
}

static uint64_t now(void)
{
    uint64_t ticks;
    __asm__ volatile("isb\nmrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
}

static void take_interrupts(void)
{
    *device(GICD) = 1;
    *device(GICD + 0x100) = 1u << TIMER; /* GICD_ISENABLER0 */
    *device(GICC + 4) = 0xf0;            /* GICC_PMR */
    *device(GICC) = 1;
}

/* Sleeps until an interrupt comes, and ends it. They stay masked: WFI returns all the same. */
static uint32_t next_interrupt(void)
{
    for (;;) {
        uint32_t taken = *device(GICC + 0xc);
        uint32_t id = taken & 0x3ff;
        if (id == NOTHING) {
            __asm__ volatile("wfi");
            continue;
        }
        if (id == TIMER) {
            __asm__ volatile("msr cntv_ctl_el0, xzr\nisb");
        }
        *device(GICC + 0x10) = taken;
        return id;
    }
}

static void interrupt(uint64_t cpu, uint32_t sgi)
{
    *device(GICD + 0xf00) = (uint32_t)(1u << (16 + cpu)) | sgi;
}

static uint64_t frequency(void)
{
    uint64_t value;
    __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
    return value;
}

static void start_timer(uint64_t me)
{
    started[me] = now();
    uint64_t due = started[me] + frequency() / 100;
    __asm__ volatile("msr cntv_cval_el0, %0\nmsr cntv_ctl_el0, %1\nisb" ::"r"(due), "r"(1ul));
}

static void timer_came(uint64_t me)
{
    slept[me] = (now() - started[me]) * 1000 / frequency();
}

void other(uint64_t me)
{
    take_interrupts();
    start_timer(me);
    for (;;) {
        switch (next_interrupt()) {
        case SGI_WORK:
            interrupt(0, SGI_DONE);
            break;
        case TIMER:
            timer_came(me);
            break;
        }
    }
}

static void try_firmware(uint32_t function, uint64_t argument)
{
    uint64_t answer = call(function, argument, 0, 0); /* the monitor may say something now */
    text("smc ");
    number(function);
    text(" ");
    number(argument);
    text(" = ");
    number(answer);
    text("\n");
}

void first(void)
{
    uint64_t cpus = 1;
    take_interrupts();
    start_timer(0);
    while (next_interrupt() != TIMER) {
    }
    timer_came(0);
    while (cpus < CPUS && call(CPU_ON, cpus, (uint64_t)enter, cpus) == 0) {
        for (uint32_t round = 0; round < ROUNDS; round++) {
            interrupt(cpus, SGI_WORK);
            while (next_interrupt() != SGI_DONE) {
            }
        }
        cpus++;
    }
    for (uint64_t cpu = 0; cpu < cpus; cpu++) {
        uint64_t start = now();
        while (slept[cpu] == 0 && now() - start < frequency()) {
        }
        text("cpu ");
        number(cpu);
        text(slept[cpu] >= 10 ? " slept\n" : " did not sleep\n");
    }
    try_firmware(OLD_CPU_ON, 0);
    try_firmware(OLD_CPU_ON, 0x77);
    try_firmware(OLD_CPU_OFF, 0); /* the last that was heard of this core, if it got through */
    try_firmware(0xc2000001u, 0);
    text("router: guest probe: userspace up\n"); /* for whoever waits for it */
    for (;;) {
        next_interrupt();
    }
}
