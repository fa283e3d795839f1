/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm.h"

/* Calls to the board's firmware: those that the description names are passed on, all others are refused. */

#define NOT_SUPPORTED (~0ULL) /* SMC calling convention (DEN 0028), 5.2 */

static bool allowed(uint32_t function)
{
    for (uint32_t i = 0; i < vmm_config.smcs; i++) {
        if (vmm_config.smc[i] == function) {
            return true;
        }
    }
    return false;
}

/* Tells of the 1st, 2nd, 4th, 8th … refused call, so that a guest cannot flood the console. */
static void refuse(uint32_t function)
{
    char line[] = "refused the guest's SMC call 0x00000000";
    vmm.smc_refused++;
    if ((vmm.smc_refused & (vmm.smc_refused - 1)) != 0) {
        return;
    }
    for (uint32_t i = 0; i < 8; i++) {
        line[sizeof(line) - 2 - i] = "0123456789abcdef"[(function >> (4 * i)) & 0xf];
    }
    log_line(line);
}

uint64_t firmware_call(uint32_t vcpu, uint64_t function)
{
    if (!allowed((uint32_t)function)) {
        refuse((uint32_t)function);
        return NOT_SUPPORTED;
    }
#if defined(CONFIG_ALLOW_SMC_CALLS)
    uint64_t x[8];
    seL4_ARM_SMCContext answer;
    vcpu_registers(vcpu, x, 8);
    /* Function identifiers have 32 bits, and what was compared is what is passed on. */
    seL4_ARM_SMCContext call = {.x0 = (uint32_t)x[0],
                                .x1 = x[1],
                                .x2 = x[2],
                                .x3 = x[3],
                                .x4 = x[4],
                                .x5 = x[5],
                                .x6 = x[6],
                                .x7 = x[7]};
    microkit_arm_smc_call(&call, &answer);
    vcpu_set_register(vcpu, 1, answer.x1, 0);
    vcpu_set_register(vcpu, 2, answer.x2, 0);
    vcpu_set_register(vcpu, 3, answer.x3, 0);
    vmm.smc_passed++;
    return answer.x0;
#else
    (void)vcpu;
    refuse((uint32_t)function);
    return NOT_SUPPORTED;
#endif
}
