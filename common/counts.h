/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What a protection domain has done so far, counted in its own memory. Nothing in the system reads it: a test
 * or a measurement finds it in the machine's memory (bench/counters.py), in any configuration. Seconds vary
 * with the load of the computer that emulates the machine; these numbers do not.
 *
 * A count is an addition to a variable of this domain, so a kind of event is counted once, where it ends up.
 */

#include <stdint.h>

/* Name and meaning. Ticks are those of the system counter. bench/counters.py reads this list. */
#define COUNTS_LIST(X)                                                                                       \
    X(TRAP_EARLY, "traps: early console")           /* a byte each, and reads of its status */               \
    X(TRAP_GIC, "traps: interrupt controller")      /* distributor and redistributors */                     \
    X(TRAP_NET, "traps: network device")            /* registers of virtio-mmio */                           \
    X(TRAP_CONSOLE, "traps: console devices")       /* both of them */                                       \
    X(TRAP_NOTHING, "traps: unmapped addresses")    /* and what no device can answer */                      \
    X(TRAP_WAIT, "traps: WFI and WFE")              /* the guest has nothing to do */                        \
    X(TRAP_CALL, "traps: HVC and SMC")              /* PSCI, firmware */                                     \
    X(TRAP_REGISTER, "traps: system registers")     /* debugging, SGIs on GICv3 */                           \
    X(TRAP_OTHER, "traps: other")                   /* undefined instructions */                             \
    X(TRAP_INTERRUPT_END, "traps: interrupt ended") /* the GIC's maintenance interrupt */                    \
    X(TRAP_VIRTUAL_TIMER, "traps: virtual timer")   /* its interrupt, while the guest runs */                \
    X(INJECTED, "virtual interrupts")               /* put into a list register */                           \
    X(SLEEPS, "guest sleeps")                       /* WFI without pending interrupt */                      \
    X(BY_TIMER, "notified by the timer")            /* a deadline; of the timer: its alarm */                \
    X(BY_PORT, "notified by a peer")                /* switch to VMM, VMM to switch or console */            \
    X(BY_CONSOLE, "notified by the console")        /* bytes, room, or the question whether it works */      \
    X(BY_DEVICE, "notified by a device")            /* pass-through; the UART of the console */              \
    X(BY_TICKER, "notified by the ticker")          /* of the timer */                                       \
    X(TO_SWITCH, "notifications to the switch")                                                              \
    X(TO_CONSOLE, "notifications to the console")                                                            \
    X(TO_PEERS, "notifications to peers") /* switch and console to VMMs, the timer to its clients */         \
    X(TIMER_CALLS, "calls to the timer")  /* made; of the timer: taken */                                    \
    X(FRAMES_OUT, "frames sent")          /* by the guest; of the switch: forwarded */                       \
    X(BYTES_OUT, "frame bytes sent")                                                                         \
    X(FRAMES_IN, "frames received")                                                                          \
    X(BYTES_IN, "frame bytes received")                                                                      \
    X(CHARACTERS, "console bytes written")          /* of the console: to the UART */                        \
    X(LOADED_BYTES, "bytes of images copied")       /* into the guest's RAM */                               \
    X(TICKS_TRAPS, "ticks in traps")                /* and in other work for the guest */                    \
    X(AT_START, "counter at the first instruction") /* of this domain's init() */                            \
    X(AT_GUEST, "counter at the guest's start")     /* the last one */                                       \
    X(AT_DEVICES, "counter at the virtio drivers")  /* the guest's first access to a virtio device */

enum counts_kind {
#define COUNTS_ENUM(name, text) COUNTS_##name,
    COUNTS_LIST(COUNTS_ENUM)
#undef COUNTS_ENUM
        COUNTS_KINDS
};

#define COUNTS_NAME 64u /* bytes; as many as Microkit gives a name */

struct counts {
    uint64_t magic[2];
    uint64_t at;    /* this structure's own address, so that no copy of it elsewhere is taken for it */
    uint64_t hertz; /* of the system counter */
    uint8_t name[COUNTS_NAME];
    uint64_t of[COUNTS_KINDS];
};

#define COUNTS_MAGIC_0 0x73746e756f632e72ULL /* "r.counts" */
#define COUNTS_MAGIC_1 0x8f1d5ac3e27b9406ULL

extern struct counts counts;

/* The magic is written here and not in the program's file, of which there are copies in memory. */
static inline void counts_init(const char *name, uint64_t hertz, uint64_t now)
{
    for (uint32_t n = 0; n < COUNTS_NAME - 1 && name[n] != 0; n++) {
        counts.name[n] = (uint8_t)name[n];
    }
    counts.hertz = hertz;
    counts.at = (uint64_t)(uintptr_t)&counts;
    counts.of[COUNTS_AT_START] = now;
    __atomic_store_n(&counts.magic[0], COUNTS_MAGIC_0, __ATOMIC_RELAXED);
    __atomic_store_n(&counts.magic[1], COUNTS_MAGIC_1, __ATOMIC_RELAXED);
}

static inline void count_many(enum counts_kind kind, uint64_t n)
{
    counts.of[kind] += n;
}

static inline void count(enum counts_kind kind)
{
    count_many(kind, 1);
}

/* A total that is kept elsewhere too. */
static inline void count_total(enum counts_kind kind, uint64_t total)
{
    counts.of[kind] = total;
}
