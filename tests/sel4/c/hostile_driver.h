/* SPDX-License-Identifier: BSD-2-Clause */

/* A device of two queues as a good driver uses it: eight entries a queue, one buffer each. */
#ifndef HOSTILE_DRIVER_H
#define HOSTILE_DRIVER_H

#include "hostile_machine.h"

struct good {
    uint16_t sent;
    uint16_t received;
};
#define GOOD_SIZE 8u
#define QUEUE(n) (RINGS + 0x4000ULL * (n))

static inline bool bring_up_with(uint64_t device, struct good *good, uint32_t features)
{
    for (uint32_t i = 0; i < 0x8000; i += 8) {
        *(volatile uint64_t *)(RINGS + i) = 0;
    }
    set(device, 0x70, 0);
    set(device, 0x70, 3);
    set(device, 0x24, 0);
    set(device, 0x20, features);
    set(device, 0x24, 1);
    set(device, 0x20, 1);
    set(device, 0x70, 0xb);
    for (uint32_t queue = 0; queue < 2; queue++) {
        set(device, 0x30, queue);
        set(device, 0x38, GOOD_SIZE);
        for (uint32_t part = 0; part < 3; part++) {
            set(device, 0x80 + 0x10 * part, (uint32_t)(QUEUE(queue) + 0x1000 * part));
            set(device, 0x84 + 0x10 * part, (uint32_t)((QUEUE(queue) + 0x1000 * part) >> 32));
        }
        set(device, 0x44, 1);
    }
    set(device, 0x70, 0xf);
    volatile struct descriptor *rx = (volatile struct descriptor *)QUEUE(0);
    volatile uint16_t *avail = (volatile uint16_t *)(QUEUE(0) + 0x1000);
    for (uint32_t i = 0; i < GOOD_SIZE; i++) {
        rx[i] = (struct descriptor){BUFFERS + 0x1000ULL * i, 0x1000, 2, 0};
        avail[2 + i] = (uint16_t)i;
    }
    avail[1] = GOOD_SIZE;
    set(device, 0x50, 0);
    *good = (struct good){0};
    return get(device, 0x70) == 0xf;
}

static inline bool bring_up(uint64_t device, struct good *good)
{
    return bring_up_with(device, good, 0);
}

/* Has the virtual timer interrupt in 50 ms, which ends a WFI, also where interrupts are masked. */
static inline void set_alarm_clock(void)
{
    set(GICD, 0x000, 1);
    set(GICD, 0x100, 1u << 27);
    set(GICC, 0x04, 0xff);
    set(GICC, 0x00, 1);
    __asm__ volatile("msr cntv_cval_el0, %0\nmsr cntv_ctl_el0, %1\nisb" ::"r"(now() + hertz() / 20),
                     "r"(1UL));
}

static inline void stop_alarm_clock(void)
{
    uint32_t taken = get(GICC, 0x0c);
    __asm__ volatile("msr cntv_ctl_el0, xzr\nisb");
    if ((taken & 0x3ff) < 1020) {
        set(GICC, 0x10, taken);
    }
}

/* Sleeps as an idle kernel does. */
static inline void nap(void)
{
    set_alarm_clock();
    __asm__ volatile("wfi");
    stop_alarm_clock();
}

/* Waits for a key on the console, so that the attack begins when the test wants it. */
static inline uint8_t await_key(void)
{
    struct good good;
    const volatile uint16_t *used = (volatile uint16_t *)(QUEUE(0) + 0x2000);
    const volatile uint32_t *entry = (volatile uint32_t *)(QUEUE(0) + 0x2004);
    while (!bring_up(NET + STRIDE, &good)) {
    }
    while (used[1] == 0) {
        nap();
    }
    return *(const volatile uint8_t *)(BUFFERS + 0x1000ULL * (entry[0] % GOOD_SIZE));
}

#endif
