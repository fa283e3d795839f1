/* SPDX-License-Identifier: BSD-2-Clause */
#include "mmio.h"

enum {
    CLASS_WFX = 0x01,
    CLASS_HVC64 = 0x16,
    CLASS_SMC64 = 0x17,
    CLASS_SYSREG = 0x18,
    CLASS_DATA_ABORT_LOWER = 0x24,
};

#define LONG_INSTRUCTION (1u << 25) /* of 32 bits */
#define ISS_VALID (1u << 24)
#define ISS_SIGN (1u << 21)
#define ISS_WIDE (1u << 15)
#define ISS_WRITE (1u << 6)
#define ISS_CACHE_MAINTENANCE (1u << 8)
#define ISS_TABLE_WALK (1u << 7)

static uint8_t instruction_bytes(uint64_t syndrome)
{
    return (syndrome & LONG_INSTRUCTION) != 0 ? 4 : 2;
}

bool mmio_decode(uint64_t syndrome, struct mmio_access *access)
{
    uint32_t class = (uint32_t)(syndrome >> 26) & 0x3f;
    uint32_t iss = (uint32_t)syndrome & 0x1ffffff;
    if (class != CLASS_DATA_ABORT_LOWER || !(iss & ISS_VALID) ||
        (iss & (ISS_CACHE_MAINTENANCE | ISS_TABLE_WALK))) {
        return false;
    }
    access->write = (iss & ISS_WRITE) != 0;
    access->size = (uint8_t)(1u << ((iss >> 22) & 3));
    access->reg = (iss >> 16) & 0x1f;
    access->sign_extend = (iss & ISS_SIGN) != 0;
    access->wide = (iss & ISS_WIDE) != 0;
    access->advance = instruction_bytes(syndrome);
    return true;
}

uint64_t mmio_truncate(const struct mmio_access *access, uint64_t value)
{
    return access->size == 8 ? value : value & ((1ULL << (8 * access->size)) - 1);
}

uint64_t mmio_extend(const struct mmio_access *access, uint64_t value)
{
    value = mmio_truncate(access, value);
    if (access->sign_extend && access->size < 8) {
        uint64_t sign = 1ULL << (8 * access->size - 1);
        value = (value ^ sign) - sign;
        if (!access->wide) {
            value &= 0xffffffff;
        }
    }
    return value;
}

struct trap trap_decode(uint64_t syndrome)
{
    struct trap trap = {.kind = TRAP_OTHER, .class = (uint32_t)(syndrome >> 26) & 0x3f};
    uint32_t iss = (uint32_t)syndrome & 0x1ffffff;
    trap.advance = instruction_bytes(syndrome);
    switch (trap.class) {
    case CLASS_WFX:
        trap.kind = TRAP_WFX;
        trap.is_wfe = (iss & 1) != 0;
        break;
    case CLASS_HVC64:
        trap.kind = TRAP_HVC;
        trap.advance = 0; /* its preferred return address is behind it */
        break;
    case CLASS_SMC64:
        trap.kind = TRAP_SMC;
        break;
    case CLASS_SYSREG:
        trap.kind = TRAP_SYSREG;
        trap.write = (iss & 1) == 0;
        trap.reg = (iss >> 5) & 0x1f;
        trap.sysreg =
            SYSREG((iss >> 20) & 3, (iss >> 14) & 7, (iss >> 10) & 0xf, (iss >> 1) & 0xf, (iss >> 17) & 7);
        break;
    default:
        break;
    }
    return trap;
}

bool is_debug_register(uint32_t sysreg)
{
    uint32_t op0 = sysreg >> 16, crn = (sysreg >> 8) & 0xf, crm = (sysreg >> 4) & 0xf;
    bool monitors = op0 == 3 && ((crn == 9 && crm >= 12 && crm <= 14) || (crn == 14 && crm >= 8));
    return op0 == 2 || monitors;
}

uint64_t exception_vector(uint64_t spsr)
{
    enum { MODE = 0xf, EL1_SP0 = 0x4, EL1 = 0xc, AARCH32 = 0x10 };
    if ((spsr & EL1) != 0) {
        return (spsr & MODE) == EL1_SP0 ? 0 : 0x200;
    }
    return spsr & AARCH32 ? 0x600 : 0x400;
}
