/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* State shared by the parts of the VMM. Each guest has a VMM of its own. */

#include "account.h"
#include "backoff.h"
#include "burst.h"
#include "config.h"
#include "guest_image.h"
#include "psci.h"
#include "vcpu.h"
#include "virtio_console.h"
#include "virtio_net.h"
#include "virtio_vsock.h"

enum guest_state { GUEST_DOWN, GUEST_UP, GUEST_DRAINING };

struct vmm {
    enum guest_state state;
    struct guest_ram ram;
    struct gic gic;
    struct psci psci;
    struct virtio_net net; /* one of these two, as the configuration says */
    struct virtio_vsock vsock;
    struct virtio_console console[VMM_CONSOLES];
    uint64_t irq_busy;    /* pass-through interrupts (bit: index in the configuration) not yet acknowledged */
    uint64_t timer_armed; /* the deadline set in the timer, or TIMER_NEVER */
    uint64_t net_due;     /* its next deadline, or TIMER_NEVER */
    uint64_t stray_accesses; /* to unmapped guest-physical addresses */
    uint64_t unknown_traps;
    uint64_t smc_passed; /* SMCs forwarded to the firmware, and SMCs refused */
    uint64_t smc_refused;
    uint64_t restarts;
    uint64_t started_at;  /* counter value */
    uint64_t restart_at;  /* when a guest that is down restarts, or TIMER_NEVER */
    uint64_t next_report; /* number of breaches that triggers the next report */
    struct backoff backoff;
    struct account traps;   /* VMM time spent on the guest's traps */
    uint64_t receiving;     /* ticks of the current event that the senders of frames pay, in the switch */
    uint32_t consoles_wait; /* consoles (bit set) deferred while the account is overdrawn */
    uint64_t consoles_due;  /* when they are served all the same; meaningless if none waits */
    uint64_t early_due;     /* when the console is notified of an unfinished line, or TIMER_NEVER */
    bool behind;            /* overdrawn: its vCPUs run at the lowest priority */
    struct burst burst;     /* when they run before those of other guests */
    uint8_t priority;       /* of its vCPUs now */
    uint32_t drain_calls;   /* calls made by vCPUs while draining */
};

extern struct vmm vmm;

/* boot.c */
/* Copies the guest's images into its RAM and starts vCPU 0. */
void guest_boot(void);
/* The guest crashed, powered off or reset itself: reports why and applies the policy. */
void guest_stopped(const char *why, enum vmm_policy policy);
/* The restart delay is over. */
void guest_restart(void);
/* A draining vCPU has completed its interrupts. The last one boots the guest. */
void guest_drained(uint32_t vcpu);

/* bus.c */
/* Sets up the emulated devices. */
void bus_init(void);
/* Resets the emulated devices. */
void bus_reset(void);
/* Emulates a guest's load or store at a guest-physical address. False if nothing is mapped there. */
bool bus_read(uint32_t vcpu, uint64_t gpa, uint32_t size, uint64_t *value);
bool bus_write(uint32_t vcpu, uint64_t gpa, uint32_t size, uint64_t value);
/* Let a device move data, and update its interrupt line. The network's returns the ticks that receiving took
 * and the frames' senders do not pay. */
uint64_t bus_run_net(void);
/* Whether the device at the switch is to run without an event: its guest has queued something meanwhile. */
bool bus_net_pending(void);
/* Its deadline has passed. */
void bus_net_due(uint64_t now);
void bus_run_console(uint32_t index);

/* firmware.c */
/* Handles an SMC that is not PSCI. Returns its x0 and sets x1 to x3. */
uint64_t firmware_call(uint32_t vcpu, uint64_t function);

/* log.c: lines on the guest's console, with the prefix "vmm GUEST:". */
void log_line(const char *text);
void log_hex(const char *text, uint64_t value);
void log_decimal(const char *before, uint64_t value, const char *after);
/* Reports what no correct driver does, each time the total has doubled since the last report. */
void log_breaches(void);
/* A byte of the guest's early console. The console is notified at the end of the line, or after 10 ms. */
void console_early(uint8_t byte);
void console_notify(void);
/* Answers the console's question whether this VMM still works, if it has asked. */
void console_answer(void);
