/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * What a trapped instruction wanted, from the syndrome that the processor recorded (ARM DDI 0487, ESR_EL2).
 */

#include <stdbool.h>
#include <stdint.h>

#define REGISTER_ZERO 31u /* xzr: reads as zero, writes vanish */

struct mmio_access {
    bool write;
    uint8_t size; /* bytes: 1, 2, 4 or 8 */
    uint8_t reg;  /* number of the general register */
    bool sign_extend;
    bool wide;       /* the destination is a 64-bit register */
    uint8_t advance; /* bytes of the instruction: 2 in a 32-bit process's Thumb code, else 4 */
};

/* Data abort from a lower level. False when the instruction is one that the syndrome does not describe, or no
 * abort. */
bool mmio_decode(uint64_t syndrome, struct mmio_access *access);

/* The value that a load of this kind leaves in its register. */
uint64_t mmio_extend(const struct mmio_access *access, uint64_t value);

/* The bytes that a store of this kind takes from its register. */
uint64_t mmio_truncate(const struct mmio_access *access, uint64_t value);

enum trap_kind { TRAP_WFX, TRAP_HVC, TRAP_SMC, TRAP_SYSREG, TRAP_OTHER };

struct trap {
    enum trap_kind kind;
    bool is_wfe;     /* TRAP_WFX */
    bool write;      /* TRAP_SYSREG: MSR */
    uint8_t reg;     /* TRAP_SYSREG: general register */
    uint32_t sysreg; /* TRAP_SYSREG: as SYSREG() makes it */
    uint32_t class;  /* exception class */
    uint8_t advance; /* bytes of the instruction; of HVC, nothing is left of it */
};

#define SYSREG(op0, op1, crn, crm, op2)                                                                      \
    ((uint32_t)(op0) << 16 | (uint32_t)(op1) << 12 | (uint32_t)(crn) << 8 | (uint32_t)(crm) << 4 |           \
     (uint32_t)(op2))

struct trap trap_decode(uint64_t syndrome);

/* Whether a system register belongs to debugging or to the performance monitors, which guests do not have. */
bool is_debug_register(uint32_t sysreg);

/* Where the vector for a synchronous exception lies in the guest's table, from the state (SPSR) in which it
 * happens. */
uint64_t exception_vector(uint64_t spsr);
