/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * Declarations of what our protection domains use of Microkit and seL4, so that they can be checked where no
 * SDK is installed: by clangd, and by the test that compiles every file. Types and order of fields are those
 * of Microkit 2.3.0 for aarch64; values of enumerations are not, and nothing links with this.
 */

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t seL4_Word;
typedef int8_t seL4_Bool;
typedef int seL4_Error;
typedef unsigned int microkit_channel;
typedef unsigned int microkit_child;
typedef struct seL4_MessageInfo {
    seL4_Word words[1];
} microkit_msginfo;

enum { seL4_False, seL4_True };
enum { seL4_NoError };
enum {
    seL4_Fault_CapFault,
    seL4_Fault_UnknownSyscall,
    seL4_Fault_VMFault,
    seL4_Fault_VGICMaintenance,
    seL4_Fault_VCPUFault,
    seL4_Fault_VPPIEvent,
};
enum { seL4_VMFault_IP, seL4_VMFault_Addr, seL4_VMFault_PrefetchFault, seL4_VMFault_FSR };
enum { seL4_VGICMaintenance_IDX };
enum { seL4_VCPUFault_HSR };
enum { seL4_VPPIEvent_IRQ };
enum {
    seL4_VCPUReg_ESR,
    seL4_VCPUReg_FAR,
    seL4_VCPUReg_VBAR,
    seL4_VCPUReg_ELR_EL1,
    seL4_VCPUReg_SPSR_EL1,
    seL4_VCPUReg_CNTV_CTL,
    seL4_VCPUReg_CNTV_CVAL,
    seL4_VCPUReg_CNTVOFF,
    seL4_VCPUReg_VMPIDR_EL2,
    seL4_VCPUReg_Num,
};
enum { BASE_VM_TCB_CAP = 266, BASE_VCPU_CAP = 330 };

typedef struct seL4_UserContext_ {
    seL4_Word pc, sp, spsr, x0, x1, x2, x3, x4, x5, x6, x7, x8, x16, x17, x18, x29, x30;
    seL4_Word x9, x10, x11, x12, x13, x14, x15, x19, x20, x21, x22, x23, x24, x25, x26, x27, x28;
    seL4_Word tpidr_el0, tpidrro_el0;
} seL4_UserContext;
typedef struct seL4_ARM_SMCContext_ {
    seL4_Word x0, x1, x2, x3, x4, x5, x6, x7;
} seL4_ARM_SMCContext;

extern char microkit_name[64];

void init(void);
void notified(microkit_channel channel);
microkit_msginfo protected(microkit_channel channel, microkit_msginfo msginfo);
seL4_Bool fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply);

void microkit_dbg_putc(int c);
void microkit_dbg_puts(const char *text);
void microkit_notify(microkit_channel channel);
void microkit_irq_ack(microkit_channel channel);
microkit_msginfo microkit_ppcall(microkit_channel channel, microkit_msginfo msginfo);
microkit_msginfo microkit_msginfo_new(seL4_Word label, uint16_t count);
seL4_Word microkit_msginfo_get_label(microkit_msginfo msginfo);
seL4_Word microkit_msginfo_get_count(microkit_msginfo msginfo);
void microkit_mr_set(uint8_t mr, seL4_Word value);
seL4_Word microkit_mr_get(uint8_t mr);
void microkit_vcpu_stop(microkit_child vcpu);
void microkit_vcpu_arm_ack_vppi(microkit_child vcpu, seL4_Word irq);
seL4_Word microkit_vcpu_arm_read_reg(microkit_child vcpu, seL4_Word reg);
void microkit_vcpu_arm_write_reg(microkit_child vcpu, seL4_Word reg, seL4_Word value);
void microkit_arm_smc_call(seL4_ARM_SMCContext *args, seL4_ARM_SMCContext *response);

seL4_Error seL4_TCB_ReadRegisters(seL4_Word tcb, seL4_Bool suspend, uint8_t flags, seL4_Word count,
                                  seL4_UserContext *regs);
seL4_Error seL4_TCB_WriteRegisters(seL4_Word tcb, seL4_Bool resume, uint8_t flags, seL4_Word count,
                                   seL4_UserContext *regs);
seL4_Error seL4_TCB_SetPriority(seL4_Word tcb, seL4_Word authority, seL4_Word priority);
seL4_Error seL4_ARM_VCPU_InjectIRQ(seL4_Word vcpu, uint16_t virq, uint8_t priority, uint8_t group,
                                   uint8_t index);
void seL4_Yield(void);
