/* SPDX-License-Identifier: BSD-2-Clause */
#include "vcpu.h"

#include "counts.h"
#include "mmio.h"
#include "timer.h"

#define SPSR_EL1H 0x5u
#define SPSR_DAIF 0x3c0u
#define CNTV_ENABLE 1u
#define CNTV_IMASK 2u
#define MPIDR_RES1 (1ULL << 31)

/* Exception classes and the fault status of a synchronous external abort (ARM DDI 0487, ESR_EL1). */
enum { UNKNOWN = 0x00, INSTRUCTION_ABORT = 0x20, DATA_ABORT = 0x24, EXTERNAL_ABORT = 0x10 };

static struct vcpu vcpus[GIC_MAX_VCPUS];
static seL4_Word reset_value[seL4_VCPUReg_Num];

/* Where a general register lies in seL4_UserContext, counted in words: pc, sp, spsr, x0–x8, x16–x18, x29,
 * x30, x9–x15, x19–x28. A transfer may stop after the last word that is wanted. */
static uint32_t place(uint32_t n)
{
    if (n <= 8) {
        return 3 + n;
    }
    if (n <= 15) {
        return 17 + n - 9;
    }
    if (n <= 18) {
        return 12 + n - 16;
    }
    return n <= 28 ? 24 + n - 19 : 15 + n - 29;
}

_Static_assert(__builtin_offsetof(seL4_UserContext, x0) == 3 * 8, "order of seL4's registers");
_Static_assert(__builtin_offsetof(seL4_UserContext, x16) == 12 * 8, "order of seL4's registers");
_Static_assert(__builtin_offsetof(seL4_UserContext, x29) == 15 * 8, "order of seL4's registers");
_Static_assert(__builtin_offsetof(seL4_UserContext, x9) == 17 * 8, "order of seL4's registers");
_Static_assert(__builtin_offsetof(seL4_UserContext, x28) == 33 * 8, "order of seL4's registers");

struct vcpu *vcpu_of(uint32_t vcpu)
{
    return &vcpus[vcpu];
}

static void read_context(uint32_t vcpu, uint32_t words, seL4_UserContext *context)
{
    seL4_TCB_ReadRegisters(BASE_VM_TCB_CAP + vcpu, 0, 0, words, context);
}

static void write_context(uint32_t vcpu, bool resume, uint32_t words, seL4_UserContext *context)
{
    seL4_TCB_WriteRegisters(BASE_VM_TCB_CAP + vcpu, resume, 0, words, context);
}

void vcpu_init(uint32_t count)
{
    for (uint32_t v = 0; v < count; v++) {
        vcpus[v] = (struct vcpu){.state = VCPU_OFF, .deadline = TIMER_NEVER};
    }
    for (seL4_Word r = 0; r < seL4_VCPUReg_Num; r++) {
        reset_value[r] = microkit_vcpu_arm_read_reg(0, r);
    }
}

static void start(uint32_t vcpu, seL4_UserContext *context)
{
    for (seL4_Word r = 0; r < seL4_VCPUReg_Num; r++) {
        microkit_vcpu_arm_write_reg(vcpu, r, reset_value[r]);
    }
    microkit_vcpu_arm_write_reg(vcpu, seL4_VCPUReg_VMPIDR_EL2, MPIDR_RES1 | vcpu);
    if (vcpus[vcpu].timer_masked) {
        microkit_vcpu_arm_ack_vppi(vcpu, 27);
    }
    vcpus[vcpu] = (struct vcpu){.state = VCPU_RUNNING, .deadline = TIMER_NEVER};
    context->spsr = SPSR_EL1H | SPSR_DAIF;
    write_context(vcpu, true, sizeof(*context) / sizeof(seL4_Word), context);
}

void vcpu_start(uint32_t vcpu, uint64_t entry, uint64_t x0)
{
    seL4_UserContext context = {.pc = entry, .x0 = x0};
    start(vcpu, &context);
}

void vcpu_start_draining(uint32_t vcpu, uint64_t entry, uint64_t gicc, const uint16_t lr[GIC_MAX_LRS])
{
    uint64_t packed[GIC_MAX_LRS / 4] = {0};
    for (uint32_t i = 0; i < GIC_MAX_LRS; i++) {
        packed[i / 4] |= (uint64_t)lr[i] << (16 * (i % 4));
    }
    seL4_UserContext context = {
        .pc = entry, .x2 = gicc, .x4 = packed[0], .x5 = packed[1], .x6 = packed[2], .x7 = packed[3]};
    start(vcpu, &context);
}

void vcpu_off(uint32_t vcpu)
{
    microkit_vcpu_stop(vcpu);
    vcpus[vcpu].state = VCPU_OFF;
    vcpus[vcpu].deadline = TIMER_NEVER;
}

void vcpu_sleep(uint32_t vcpu, uint32_t advance)
{
    struct vcpu *v = &vcpus[vcpu];
    seL4_UserContext context;
    /* seL4 masks the virtual timer while a vCPU is not running, so its deadline is ours to keep. */
    uint64_t control = microkit_vcpu_arm_read_reg(vcpu, seL4_VCPUReg_CNTV_CTL);
    v->deadline = TIMER_NEVER;
    if ((control & (CNTV_ENABLE | CNTV_IMASK)) == CNTV_ENABLE && !v->timer_masked) {
        v->deadline = microkit_vcpu_arm_read_reg(vcpu, seL4_VCPUReg_CNTV_CVAL) +
                      microkit_vcpu_arm_read_reg(vcpu, seL4_VCPUReg_CNTVOFF);
        if (v->deadline <= timer_now()) {
            vcpu_advance(vcpu, advance);
            return;
        }
    }
    seL4_TCB_ReadRegisters(BASE_VM_TCB_CAP + vcpu, 1, 0, 1, &context);
    v->sleeper_pc = context.pc + advance;
    v->state = VCPU_ASLEEP;
    count(COUNTS_SLEEPS);
}

void vcpu_wake(uint32_t vcpu)
{
    struct vcpu *v = &vcpus[vcpu];
    seL4_UserContext context = {.pc = v->sleeper_pc};
    v->state = VCPU_RUNNING;
    v->deadline = TIMER_NEVER;
    write_context(vcpu, true, 1, &context);
}

void vcpu_registers(uint32_t vcpu, uint64_t *x, uint32_t count)
{
    seL4_UserContext context;
    read_context(vcpu, place(count - 1) + 1, &context);
    for (uint32_t i = 0; i < count; i++) {
        x[i] = ((const seL4_Word *)&context)[place(i)];
    }
}

uint64_t vcpu_register(uint32_t vcpu, uint32_t n)
{
    seL4_UserContext context;
    if (n > 30) {
        return 0;
    }
    read_context(vcpu, place(n) + 1, &context);
    return ((const seL4_Word *)&context)[place(n)];
}

void vcpu_set_register(uint32_t vcpu, uint32_t n, uint64_t value, uint32_t advance)
{
    seL4_UserContext context;
    uint32_t words = n > 30 ? 1 : place(n) + 1;
    read_context(vcpu, words, &context);
    if (n <= 30) {
        ((seL4_Word *)&context)[place(n)] = value;
    }
    context.pc += advance;
    write_context(vcpu, false, words, &context);
}

void vcpu_advance(uint32_t vcpu, uint32_t advance)
{
    vcpu_set_register(vcpu, 31, 0, advance);
}

/* Takes the vCPU to its exception vector with this class and syndrome. */
static bool take_exception(uint32_t vcpu, uint64_t class, uint64_t iss)
{
    seL4_UserContext context;
    read_context(vcpu, 3, &context);
    bool from_el1 = (context.spsr & 0xc) != 0;
    uint64_t vector = microkit_vcpu_arm_read_reg(vcpu, seL4_VCPUReg_VBAR) + exception_vector(context.spsr);
    if (context.pc == vector) {
        return false;
    }
    /* Of aborts, the class of one from the same level is the next one. All instructions have 32 bits. */
    uint64_t same = class != UNKNOWN && from_el1;
    microkit_vcpu_arm_write_reg(vcpu, seL4_VCPUReg_ESR, (class + same) << 26 | 1u << 25 | iss);
    microkit_vcpu_arm_write_reg(vcpu, seL4_VCPUReg_ELR_EL1, context.pc);
    microkit_vcpu_arm_write_reg(vcpu, seL4_VCPUReg_SPSR_EL1, context.spsr);
    context.pc = vector;
    context.spsr = SPSR_EL1H | SPSR_DAIF;
    write_context(vcpu, false, 3, &context);
    return true;
}

bool vcpu_abort(uint32_t vcpu, uint64_t address, bool instruction)
{
    if (!take_exception(vcpu, instruction ? INSTRUCTION_ABORT : DATA_ABORT, EXTERNAL_ABORT)) {
        return false;
    }
    /* The address before the guest's own translation is not known here, so give the physical one. */
    microkit_vcpu_arm_write_reg(vcpu, seL4_VCPUReg_FAR, address);
    return true;
}

bool vcpu_undefined(uint32_t vcpu)
{
    return take_exception(vcpu, UNKNOWN, 0);
}

void vcpu_set_priority(uint32_t vcpu, uint8_t priority)
{
    /* The kernel takes no more than the authority's own maximum, which is what the vCPU was made with. */
    seL4_TCB_SetPriority(BASE_VM_TCB_CAP + vcpu, BASE_VM_TCB_CAP + vcpu, priority);
}

void vcpu_inject(struct gic *gic, uint32_t vcpu)
{
    struct gic_injection i;
    while (gic_next(gic, vcpu, &i)) {
        /* Not libmicrokit's wrapper: it makes the whole protection domain fault when the register is in use.
         */
        if (seL4_ARM_VCPU_InjectIRQ(BASE_VCPU_CAP + vcpu, i.intid, i.priority, i.group, i.lr) !=
            seL4_NoError) {
            gic_refused(gic, vcpu, &i);
            break;
        }
        count(COUNTS_INJECTED);
    }
}
