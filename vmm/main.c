/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The VMM's protection domain: Microkit's entry points and the handling of guest traps. The state machines
 * are in the portable cores; only this file, vcpu.c, bus.c, boot.c, firmware.c and log.c use libmicrokit.
 */

#include "counts.h"
#include "mmio.h"
#include "timer.h"
#include "vmm.h"

#define VIRTUAL_TIMER_PPI 27u
#define MIN_PRIORITY 1u /* at or below the priority of every guest; the kernel idles at 0 */

#define ICC_ASGI1R_EL1 SYSREG(3, 0, 12, 11, 6)
#define ICC_SGI0R_EL1 SYSREG(3, 0, 12, 11, 7)
#define ICC_SGI1R_EL1 SYSREG(3, 0, 12, 11, 5)
#define ICC_SRE_EL1 SYSREG(3, 0, 12, 12, 5)

struct vmm vmm;

/* Acknowledges the hardware interrupts that the guest has completed, so that they can fire again. */
static void acknowledge(void)
{
    for (uint32_t v = 0; v < vmm_config.vcpus; v++) {
        if (vcpu_of(v)->timer_masked && gic_is_idle(&vmm.gic, v, VIRTUAL_TIMER_PPI)) {
            vcpu_of(v)->timer_masked = false;
            microkit_vcpu_arm_ack_vppi(v, VIRTUAL_TIMER_PPI);
        }
    }
    for (uint64_t busy = vmm.irq_busy; busy != 0; busy &= busy - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(busy);
        if (gic_is_idle(&vmm.gic, 0, vmm_config.irq[i].intid)) {
            vmm.irq_busy &= ~(1ULL << i);
            microkit_irq_ack(vmm_config.irq[i].channel);
        }
    }
}

/*
 * Stale deadlines stay armed: a spurious wake-up is cheaper than a cancel call. A deadline that has passed
 * without a notification is armed again: where guests can write the alarm's register (see alarm_arm.c), any
 * VMM that runs makes the timer serve all overdue deadlines.
 */
static void arm(uint64_t deadline)
{
    uint64_t now = timer_now();
    if (deadline < vmm.timer_armed || vmm.timer_armed <= now) {
        vmm.timer_armed = min_u64(deadline, vmm.timer_armed);
        count(COUNTS_TIMER_CALLS);
        microkit_mr_set(0, vmm.timer_armed);
        microkit_ppcall(vmm_config.timer_channel, microkit_msginfo_new(TIMER_SET, 1));
        account_charge(&vmm.traps, now, timer_now());
    }
}

/* Fills list registers and wakes vCPUs that have a pending interrupt. Returns the earliest vCPU deadline. */
static uint64_t run_vcpus(void)
{
    uint64_t next = TIMER_NEVER;
    acknowledge();
    for (uint32_t v = 0; v < vmm_config.vcpus; v++) {
        struct vcpu *vcpu = vcpu_of(v);
        if (vcpu->state == VCPU_OFF) {
            continue;
        }
        vcpu_inject(&vmm.gic, v);
        if (vcpu->state == VCPU_ASLEEP) {
            if (gic_has_work(&vmm.gic, v)) {
                vcpu_wake(v);
            } else {
                next = min_u64(next, vcpu->deadline);
            }
        }
    }
    return next;
}

/*
 * The VMM has a higher priority than all guests, so a guest that only traps would starve the others: its own
 * time slice barely advances while its VMM works. The time spent on traps is therefore charged to an account.
 * While the account is overdrawn, the guest's vCPUs run at the lowest priority.
 */
#define TRAPS_LIMIT(frequency) ((frequency) / 200) /* 5 ms: some hundred traps */
#define TRAPS_PART 2u                              /* in the long run, half of the time */

static uint64_t owed_for_trust(void)
{
    return vmm.traps.limit / 4;
}

/* Charges the time from `start` until now to the guest's traps. */
static void charge(uint64_t start)
{
    bool was = vmm.behind;
    uint64_t end = timer_now();
    count_many(COUNTS_TICKS_TRAPS, end - min_u64(end, start));
    account_charge(&vmm.traps, start, end - min_u64(end, vmm.receiving));
    vmm.receiving = 0;
    vmm.behind = vmm.traps.owed > (was ? owed_for_trust() : vmm.traps.limit);
}

/*
 * A guest that was sent something on its control channel runs before the others for a tenth of a second,
 * within the next quarter; for a second if more comes; and in the long run for half of the time.
 */
#define BURST_WINDOW(frequency) ((frequency) / 4)
#define BURST_SHARE(frequency) ((frequency) / 10)
#define BURST_LIMIT(frequency) (frequency)
#define BURST_PART 2u

/* Chooses the vCPUs' priority. Returns when it has to be chosen again, or TIMER_NEVER. */
static uint64_t set_priority(void)
{
    bool runs = false;
    for (uint32_t v = 0; v < vmm_config.vcpus; v++) {
        runs |= vmm.state == GUEST_UP && vcpu_of(v)->state == VCPU_RUNNING;
    }
    uint64_t next = burst_settle(&vmm.burst, runs, timer_now());
    uint8_t priority = vmm_config.priority;
    if (vmm.behind) {
        priority = MIN_PRIORITY;
    } else if (!vmm.burst.first && priority > MIN_PRIORITY) {
        priority--;
    }
    for (uint32_t v = 0; priority != vmm.priority && v < vmm_config.vcpus; v++) {
        vcpu_set_priority(v, priority);
    }
    vmm.priority = priority;
    return next;
}

/* Runs at the end of every event. start: counter value at which a guest-caused event began, else TIMER_NEVER.
 */
static void settle(uint64_t start)
{
    if (bus_net_pending()) {
        bus_run_net();
    }
    uint64_t next = vmm.state == GUEST_UP ? run_vcpus() : TIMER_NEVER;
    log_breaches();
    charge(start);
    next = min_u64(next, set_priority());
    next = min_u64(next, min_u64(vmm.restart_at, vmm.net_due));
    next = min_u64(next, vmm.early_due);
    if (vmm.consoles_wait != 0) {
        next = min_u64(next, vmm.consoles_due);
    }
    arm(vmm.behind ? min_u64(next, account_due(&vmm.traps, owed_for_trust())) : next);
}

#define CONSOLES_WAIT 1u /* seconds, at the most */

/* The console has read or written bytes. Deferred while the guest is overdrawn: a guest with megabytes to
 * print on a fast line would otherwise keep the VMM and the console busy at a higher priority than all
 * guests. Not for ever: a guest that traps all the time, and finds nobody else who wants the processor, stays
 * overdrawn, and could not be typed to. */
static void run_console(uint32_t index)
{
    if (vmm.behind) {
        if (vmm.consoles_wait == 0) {
            vmm.consoles_due = timer_now() + timer_frequency() * CONSOLES_WAIT;
        }
        if (vmm.consoles_due > timer_now()) {
            vmm.consoles_wait |= 1u << index;
            return;
        }
    }
    uint64_t start = timer_now();
    vmm.consoles_wait &= ~(1u << index);
    bus_run_console(index);
    if (index == VMM_PROGRAMS) {
        burst_grant(&vmm.burst, charq_written(&vmm.console[index].in), start);
    }
    charge(start);
}

/* Returns the counter value from which time is not charged yet: work at a deadline counts as the guest's own.
 */
static uint64_t on_timer(void)
{
    uint64_t now = timer_now();
    vmm.timer_armed = TIMER_NEVER;
    charge(now);
    for (uint32_t i = 0; i < VMM_CONSOLES; i++) {
        if ((vmm.consoles_wait >> i) & 1) {
            run_console(i);
        }
    }
    uint64_t start = timer_now();
    if (vmm.early_due <= now) {
        console_notify();
    }
    if (vmm.restart_at <= now) {
        guest_restart();
    }
    for (uint32_t v = 0; v < vmm_config.vcpus; v++) {
        struct vcpu *vcpu = vcpu_of(v);
        if (vcpu->state == VCPU_ASLEEP && vcpu->deadline <= now) {
            /* On its core again, its own timer interrupts it at once. */
            vcpu_wake(v);
        }
    }
    if (vmm.net_due <= now) {
        bus_net_due(now);
    }
    return start;
}

/* A fault that the guest cannot recover from. */
static void crash(const char *why, uint64_t value)
{
    log_hex(why, value);
    guest_stopped("the guest has crashed", vmm_config.on_crash);
}

static void on_memory_fault(uint32_t vcpu)
{
    uint64_t address = microkit_mr_get(seL4_VMFault_Addr);
    bool instruction = microkit_mr_get(seL4_VMFault_PrefetchFault) != 0;
    struct mmio_access access;
    uint64_t value = 0;
    if (!instruction && mmio_decode(microkit_mr_get(seL4_VMFault_FSR), &access)) {
        if (access.write) {
            value = mmio_truncate(&access, vcpu_register(vcpu, access.reg));
            if (bus_write(vcpu, address, access.size, value)) {
                vcpu_advance(vcpu, access.advance);
                return;
            }
        } else if (bus_read(vcpu, address, access.size, &value)) {
            vcpu_set_register(vcpu, access.reg, mmio_extend(&access, value), access.advance);
            return;
        }
    }
    count(COUNTS_TRAP_NOTHING);
    vmm.stray_accesses++;
    if (!vcpu_abort(vcpu, address, instruction)) {
        crash("the guest faults in its exception vector, address", address);
    }
}

/* PSCI and other firmware calls. Only SMCs are ever forwarded to the firmware. */
static void on_call(uint32_t vcpu, bool smc, uint32_t advance)
{
    uint64_t x[4];
    count(COUNTS_TRAP_CALL);
    vcpu_registers(vcpu, x, 4);
    struct psci_result result = psci_call(&vmm.psci, vcpu, x);
    switch (result.action) {
    case PSCI_ANSWER:
        vcpu_set_register(vcpu, 0, result.value, advance);
        break;
    case PSCI_START_VCPU:
        vcpu_start(result.target, result.entry, result.context);
        vcpu_set_register(vcpu, 0, result.value, advance);
        break;
    case PSCI_STOP_VCPU:
        vcpu_off(vcpu);
        break;
    case PSCI_SUSPEND:
        /* Standby, the shallowest state that the call allows: it returns like a WFI. */
        vcpu_set_register(vcpu, 0, result.value, advance);
        break;
    case PSCI_POWER_OFF:
        guest_stopped("the guest has powered off", vmm_config.on_poweroff);
        break;
    case PSCI_RESET:
        guest_stopped("the guest has reset itself", vmm_config.on_reset);
        break;
    case PSCI_NOT_PSCI:
        vcpu_set_register(vcpu, 0, smc ? firmware_call(vcpu, x[0]) : result.value, advance);
        break;
    }
}

/* Registers of debugging read as zero. Every kernel resets them at boot. */
static void on_system_register(uint32_t vcpu, const struct trap *trap)
{
    bool sgi =
        trap->sysreg == ICC_SGI1R_EL1 || trap->sysreg == ICC_ASGI1R_EL1 || trap->sysreg == ICC_SGI0R_EL1;
    count(COUNTS_TRAP_REGISTER);
    if (trap->write) {
        if (sgi && vmm_config.gic == GIC_V3) {
            gic_sgi1r(&vmm.gic, vcpu, vcpu_register(vcpu, trap->reg));
        } else if (trap->sysreg != ICC_SRE_EL1 && !is_debug_register(trap->sysreg)) {
            vmm.unknown_traps++;
        }
        vcpu_advance(vcpu, 4);
        return;
    }
    uint64_t value = 0;
    if (trap->sysreg == ICC_SRE_EL1) {
        value = 7; /* system register interface on, bypasses off: both cannot be changed */
    } else if (!is_debug_register(trap->sysreg)) {
        vmm.unknown_traps++;
    }
    vcpu_set_register(vcpu, trap->reg, value, 4);
}

static void on_trap(uint32_t vcpu)
{
    uint64_t syndrome = microkit_mr_get(seL4_VCPUFault_HSR);
    struct trap trap = trap_decode(syndrome);
    switch (trap.kind) {
    case TRAP_WFX:
        count(COUNTS_TRAP_WAIT);
        if (trap.is_wfe || gic_has_work(&vmm.gic, vcpu)) {
            vcpu_advance(vcpu, trap.advance);
        } else {
            vcpu_sleep(vcpu, trap.advance);
        }
        break;
    case TRAP_HVC:
        on_call(vcpu, false, trap.advance);
        break;
    case TRAP_SMC:
        on_call(vcpu, true, trap.advance);
        break;
    case TRAP_SYSREG:
        on_system_register(vcpu, &trap);
        break;
    case TRAP_OTHER:
        count(COUNTS_TRAP_OTHER);
        vmm.unknown_traps++;
        if (!vcpu_undefined(vcpu)) {
            crash("an unknown instruction in the guest's exception vector, syndrome", syndrome);
        }
        break;
    }
}

/* A fault of a vCPU that runs drain.S; false stops it. */
static bool fault_while_draining(uint32_t vcpu, uint64_t label)
{
    switch (label) {
    case seL4_Fault_VGICMaintenance:
        gic_end(&vmm.gic, vcpu, (uint32_t)microkit_mr_get(seL4_VGICMaintenance_IDX));
        return true;
    case seL4_Fault_VPPIEvent:
        vcpu_of(vcpu)->timer_masked = true;
        return true;
    case seL4_Fault_UnknownSyscall:
        /* The PC stays at the call, which repeats until we stop replying. */
        guest_drained(vcpu);
        return vmm.state == GUEST_DRAINING && vcpu_of(vcpu)->state == VCPU_RUNNING;
    default:
        guest_stopped("the guest cannot be restarted", VMM_STAY_DOWN);
        return false;
    }
}

seL4_Bool fault(microkit_child child, microkit_msginfo msginfo, microkit_msginfo *reply)
{
    uint32_t vcpu = child;
    if (vcpu < vmm_config.vcpus && vmm.state == GUEST_DRAINING) {
        *reply = microkit_msginfo_new(0, 0);
        return fault_while_draining(vcpu, microkit_msginfo_get_label(msginfo));
    }
    if (vcpu >= vmm_config.vcpus || vmm.state != GUEST_UP) {
        return seL4_False;
    }
    uint64_t start = timer_now();
    switch (microkit_msginfo_get_label(msginfo)) {
    case seL4_Fault_VMFault:
        on_memory_fault(vcpu);
        break;
    case seL4_Fault_VCPUFault:
        on_trap(vcpu);
        break;
    case seL4_Fault_VGICMaintenance:
        count(COUNTS_TRAP_INTERRUPT_END);
        gic_end(&vmm.gic, vcpu, (uint32_t)microkit_mr_get(seL4_VGICMaintenance_IDX));
        break;
    case seL4_Fault_VPPIEvent:
        count(COUNTS_TRAP_VIRTUAL_TIMER);
        vcpu_of(vcpu)->timer_masked = true;
        gic_pulse(&vmm.gic, vcpu, (uint32_t)microkit_mr_get(seL4_VPPIEvent_IRQ));
        break;
    case seL4_Fault_UnknownSyscall:
    case seL4_Fault_CapFault:
        /* seL4 takes a guest's HVC for a system call: an unknown one, or, where x7 holds the number of one, a
         * call on a capability that the guest does not have. Without advancing, the vCPU would repeat it. */
        on_call(vcpu, false, 4);
        break;
    default:
        crash("a fault that no guest should cause, label", microkit_msginfo_get_label(msginfo));
        break;
    }
    settle(start);
    if (vcpu_of(vcpu)->state != VCPU_RUNNING) {
        return seL4_False; /* asleep or off: no reply */
    }
    *reply = microkit_msginfo_new(0, 0);
    return seL4_True;
}

void notified(microkit_channel channel)
{
    const struct vmm_config *c = &vmm_config;
    uint64_t start = TIMER_NEVER;
    vmm.receiving = 0; /* while the guest drains, nothing is charged */
    console_answer();
    if (channel == c->timer_channel) {
        count(COUNTS_BY_TIMER);
        start = on_timer();
    } else if (c->net.present && channel == c->net.channel) {
        count(COUNTS_BY_PORT);
        uint64_t unpaid = bus_run_net();
        vmm.receiving = 0;
        charge(timer_now() - unpaid);
    } else {
        for (uint32_t i = 0; i < VMM_CONSOLES; i++) {
            if (c->console[i].present && channel == c->console[i].channel) {
                count(COUNTS_BY_CONSOLE);
                run_console(i);
            }
        }
        for (uint32_t i = 0; i < c->irqs; i++) {
            if (channel == c->irq[i].channel) {
                count(COUNTS_BY_DEVICE);
                vmm.irq_busy |= 1ULL << i;
                gic_pulse(&vmm.gic, 0, c->irq[i].intid);
            }
        }
    }
    if (vmm.state != GUEST_DRAINING) {
        settle(start);
    }
}

void init(void)
{
    counts_init(microkit_name, timer_frequency(), timer_now());
    vmm.timer_armed = TIMER_NEVER;
    vmm.net_due = TIMER_NEVER;
    vmm.restart_at = TIMER_NEVER;
    vmm.early_due = TIMER_NEVER;
    account_init(&vmm.traps, TRAPS_LIMIT(timer_frequency()), TRAPS_PART);
    uint64_t second = timer_frequency();
    burst_init(&vmm.burst, BURST_WINDOW(second), BURST_SHARE(second), BURST_LIMIT(second), BURST_PART);
    vmm.priority = vmm_config.priority;
    bus_init();
    vcpu_init(vmm_config.vcpus);
    guest_boot();
}
