/* SPDX-License-Identifier: BSD-2-Clause */
#include "psci.h"

/* Function identifiers: SMC32 0x84000000 + n, SMC64 0xc4000000 + n (DEN 0022, 5). */
enum {
    VERSION = 0,
    CPU_SUSPEND = 1,
    CPU_OFF = 2,
    CPU_ON = 3,
    AFFINITY_INFO = 4,
    MIGRATE_INFO_TYPE = 6,
    SYSTEM_OFF = 8,
    SYSTEM_RESET = 9,
    FEATURES = 10,
    SYSTEM_RESET2 = 18,
};

/* Return codes are signed 32-bit values. */
enum {
    SUCCESS = 0,
    NOT_SUPPORTED = -1,
    INVALID_PARAMETERS = -2,
    ALREADY_ON = -4,
    INVALID_ADDRESS = -9,
};

#define SMCCC_VERSION 0x80000000u
#define SMC64 0x40000000u
#define MPIDR_AFFINITY 0xff00ffffffULL

void psci_init(struct psci *psci, uint32_t vcpus, const struct guest_ram *ram)
{
    psci->ram = ram;
    psci->vcpus = vcpus > PSCI_MAX_VCPUS ? PSCI_MAX_VCPUS : vcpus;
    for (uint32_t i = 0; i < PSCI_MAX_VCPUS; i++) {
        psci->on[i] = i == 0;
    }
}

static struct psci_result answer(int64_t value)
{
    return (struct psci_result){.action = PSCI_ANSWER, .value = (uint64_t)value};
}

static int64_t features(uint32_t function)
{
    if (function == SMCCC_VERSION) {
        return SUCCESS;
    }
    uint32_t number = function & 0x1f;
    bool wide = (function & SMC64) != 0;
    if ((function & ~(SMC64 | 0x1fu)) != 0x84000000u) {
        return NOT_SUPPORTED;
    }
    switch (number) {
    case CPU_SUSPEND:
    case CPU_ON:
    case AFFINITY_INFO:
        return SUCCESS; /* for CPU_SUSPEND: original format of the power state, platform-coordinated */
    case SYSTEM_RESET2:
        return SUCCESS;
    case VERSION:
    case CPU_OFF:
    case MIGRATE_INFO_TYPE:
    case SYSTEM_OFF:
    case SYSTEM_RESET:
    case FEATURES:
        return wide ? NOT_SUPPORTED : SUCCESS;
    default:
        return NOT_SUPPORTED;
    }
}

static struct psci_result cpu_on(struct psci *psci, uint64_t target, uint64_t entry, uint64_t context)
{
    target &= MPIDR_AFFINITY;
    if (target >= psci->vcpus) {
        return answer(INVALID_PARAMETERS);
    }
    if (psci->on[target]) {
        return answer(ALREADY_ON);
    }
    /* It could not but fault, and where it has no exception vector yet. */
    if (entry % 4 != 0 || ram_at(psci->ram, entry, 4) == NULL) {
        return answer(INVALID_ADDRESS);
    }
    psci->on[target] = true;
    return (struct psci_result){.action = PSCI_START_VCPU,
                                .value = SUCCESS,
                                .target = (uint32_t)target,
                                .entry = entry,
                                .context = context};
}

/* A guest without a vCPU that could start another one has ended, whatever it meant. */
static struct psci_result cpu_off(struct psci *psci, uint32_t caller)
{
    bool any = false;
    if (caller < psci->vcpus) {
        psci->on[caller] = false;
    }
    for (uint32_t i = 0; i < psci->vcpus; i++) {
        any = any || psci->on[i];
    }
    return (struct psci_result){.action = any ? PSCI_STOP_VCPU : PSCI_POWER_OFF};
}

static struct psci_result affinity_info(const struct psci *psci, uint64_t target, uint64_t level)
{
    if (level != 0 || (target & MPIDR_AFFINITY) >= psci->vcpus) {
        return answer(INVALID_PARAMETERS);
    }
    return answer(psci->on[target & MPIDR_AFFINITY] ? 0 : 1); /* 0 is ON, 1 is OFF */
}

struct psci_result psci_call(struct psci *psci, uint32_t caller, const uint64_t x[4])
{
    uint32_t function = (uint32_t)x[0];
    if (function == SMCCC_VERSION) {
        return answer(0x10001); /* SMCCC 1.1, needed for the FEATURES call that announces it */
    }
    if ((function & ~(SMC64 | 0x1fu)) != 0x84000000u) {
        return (struct psci_result){.action = PSCI_NOT_PSCI, .value = (uint64_t)(int64_t)NOT_SUPPORTED};
    }
    if (features(function) != SUCCESS) {
        return answer(NOT_SUPPORTED);
    }
    /* The 32-bit forms pass 32-bit parameters. */
    bool wide = (function & SMC64) != 0;
    uint64_t a = wide ? x[1] : (uint32_t)x[1];
    uint64_t b = wide ? x[2] : (uint32_t)x[2];
    uint64_t c = wide ? x[3] : (uint32_t)x[3];
    switch (function & 0x1f) {
    case VERSION:
        return answer(0x10000);
    case CPU_SUSPEND:
        return (struct psci_result){.action = PSCI_SUSPEND, .value = SUCCESS};
    case CPU_OFF:
        return cpu_off(psci, caller);
    case CPU_ON:
        return cpu_on(psci, a, b, c);
    case AFFINITY_INFO:
        return affinity_info(psci, a, b);
    case MIGRATE_INFO_TYPE:
        return answer(2); /* no trusted operating system that would have to migrate */
    case SYSTEM_OFF:
        return (struct psci_result){.action = PSCI_POWER_OFF};
    case SYSTEM_RESET:
    case SYSTEM_RESET2:
        return (struct psci_result){.action = PSCI_RESET};
    case FEATURES:
        return answer(features((uint32_t)a));
    default:
        return answer(NOT_SUPPORTED);
    }
}
