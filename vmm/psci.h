/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The Power State Coordination Interface, version 1.0 (ARM DEN 0022), as far as an operating system uses it.
 * The core keeps which vCPUs are on, answers calls and says what has to be done.
 */

#include "mem.h"

#define PSCI_MAX_VCPUS 4u

enum psci_action {
    PSCI_ANSWER,     /* put `value` into x0 and go on */
    PSCI_START_VCPU, /* start `target` at `entry` with x0 = `context`; then answer */
    PSCI_STOP_VCPU,  /* stop the calling vCPU; no answer */
    PSCI_SUSPEND,    /* answer, and let the caller sleep as WFI would */
    PSCI_POWER_OFF,  /* the guest wants to be off */
    PSCI_RESET,      /* the guest wants to be restarted */
    PSCI_NOT_PSCI,   /* the function is none of PSCI's */
};

struct psci {
    const struct guest_ram *ram; /* where a vCPU may start */
    uint32_t vcpus;
    bool on[PSCI_MAX_VCPUS];
};

struct psci_result {
    enum psci_action action;
    uint64_t value;
    uint32_t target;
    uint64_t entry;
    uint64_t context;
};

/* vCPU 0 is on, the others are off. The affinity (MPIDR Aff0) of a vCPU is its number. */
void psci_init(struct psci *psci, uint32_t vcpus, const struct guest_ram *ram);

/* A call by vCPU `caller` with these values of x0 to x3. */
struct psci_result psci_call(struct psci *psci, uint32_t caller, const uint64_t x[4]);
