/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* What the parts of the monitor share. One monitor, one guest. */

#include "account.h"
#include "backoff.h"
#include "config.h"
#include "guest_image.h"
#include "psci.h"
#include "vcpu.h"
#include "virtio_console.h"
#include "virtio_net.h"

enum guest_state { GUEST_DOWN, GUEST_UP, GUEST_DRAINING };

struct vmm {
    enum guest_state state;
    struct guest_ram ram;
    struct gic gic;
    struct psci psci;
    struct virtio_net net;
    struct virtio_console console[VMM_CONSOLES];
    uint64_t irq_busy;    /* pass-through interrupts (bit: index in the configuration) not yet acknowledged */
    uint64_t timer_armed; /* the deadline that the timer knows, or TIMER_NEVER */
    uint64_t net_due;     /* when the network device has something to do by itself, or TIMER_NEVER */
    uint64_t stray_accesses; /* to guest-physical addresses where nothing is */
    uint64_t unknown_traps;
    uint64_t smc_passed; /* calls to the firmware that it answered, and those that it never saw */
    uint64_t smc_refused;
    uint64_t restarts;
    uint64_t started_at;  /* counter value */
    uint64_t restart_at;  /* when a guest that is down is started again, or TIMER_NEVER */
    uint64_t next_report; /* of breaches: when there are as many */
    struct backoff backoff;
    struct account traps;   /* time of the monitor that the guest's traps have taken */
    uint32_t consoles_wait; /* consoles (bit set) that have something to do once that is paid */
    uint64_t early_due;     /* when the console is told of an unfinished line, or TIMER_NEVER */
    bool behind;            /* so much that its vCPUs run after all others' */
    uint32_t drain_calls;   /* of vCPUs that wait for the end of an interrupt to arrive */
};

extern struct vmm vmm;

/* boot.c */
/* Copies the guest's images into its RAM and starts vCPU 0. */
void guest_boot(void);
/* The guest cannot go on, or does not want to: reports why, and does what the policy says. */
void guest_stopped(const char *why, enum vmm_policy policy);
/* The time to start it again has come. */
void guest_restart(void);
/* While draining: the vCPU says that it has ended its interrupts. Boots the guest after the last one. */
void guest_drained(uint32_t vcpu);

/* bus.c */
/* Sets up the emulated devices. */
void bus_init(void);
/* As after a reset of the machine. */
void bus_reset(void);
/* Carries out a guest's load or store at a guest-physical address. False: nothing is there. */
bool bus_read(uint32_t vcpu, uint64_t gpa, uint32_t size, uint64_t *value);
bool bus_write(uint32_t vcpu, uint64_t gpa, uint32_t size, uint64_t value);
/* Lets devices move data, raises their lines. */
void bus_run_net(void);
void bus_run_console(uint32_t index);

/* firmware.c */
/* A call by SMC that is none of PSCI's: its x0; x1 to x3 are set. */
uint64_t firmware_call(uint32_t vcpu, uint64_t function);

/* log.c: lines on the guest's console, marked as the monitor's. */
void log_line(const char *text);
void log_hex(const char *text, uint64_t value);
void log_decimal(const char *before, uint64_t value, const char *after);
/* What the guest has done that no driver should, when there is twice as much of it as in the last report. */
void log_breaches(void);
/* A byte of the guest's early console. The console learns of it with the end of its line, or soon. */
void console_early(uint8_t byte);
void console_tell(void);
