/* SPDX-License-Identifier: BSD-2-Clause */
#include "counts.h"
#include "pci.h"
#include "timer.h"
#include "vmm.h"

/* The guest starts with its caches off and must see in memory what was written here through the cache; of a
 * program, no stale instruction may be left in the instruction cache either. */
static void clean(const void *start, uint64_t size, bool program)
{
    const uint64_t line = 64;
    uint64_t end = (uint64_t)(uintptr_t)start + size;
    for (uint64_t at = (uint64_t)(uintptr_t)start & ~(line - 1); at < end; at += line) {
        __asm__ volatile("dc cvac, %0" ::"r"(at) : "memory");
    }
    __asm__ volatile("dsb sy" ::: "memory");
    for (uint64_t at = (uint64_t)(uintptr_t)start & ~(line - 1); program && at < end; at += line) {
        __asm__ volatile("ic ivau, %0" ::"r"(at) : "memory");
    }
    __asm__ volatile("dsb sy" ::: "memory");
}

/* The kernel's memory behind its file (its BSS, its first page tables) is written with the caches off, too:
 * what the guest's last life left of it in the cache would come over that later. */
static void flush(const void *start, uint64_t size)
{
    for (uint64_t at = (uint64_t)(uintptr_t)start & ~63ULL; at < (uint64_t)(uintptr_t)start + size;
         at += 64) {
        __asm__ volatile("dc civac, %0" ::"r"(at) : "memory");
    }
    __asm__ volatile("dsb sy" ::: "memory");
}

static bool place(const struct vmm_blob *blob, uint64_t gpa)
{
    if (blob->size == 0) {
        return true;
    }
    void *to = ram_at(&vmm.ram, gpa, blob->size);
    if (to == NULL) {
        return false;
    }
    console_answer(); /* loading takes long under an emulator */
    memcpy(to, blob->vaddr, blob->size);
    clean(to, blob->size, blob == &vmm_config.kernel);
    count_many(COUNTS_LOADED_BYTES, blob->size);
    return true;
}

void guest_boot(void)
{
    const struct vmm_config *c = &vmm_config;
    struct image_header image;
    uint64_t entry = 0;
    vmm.state = GUEST_DOWN;
    log_line("loading the guest");
    if (c->kernel.size < IMAGE_HEADER_BYTES || !image_parse(c->kernel.vaddr, &image)) {
        log_line("the kernel is not an arm64 Image; the guest stays down");
        return;
    }
    uint64_t archives =
        c->overlay.size == 0 ? c->initrd.size : c->overlay.gpa + c->overlay.size - c->initrd.gpa;
    const struct guest_layout layout = {.ram_base = c->ram_gpa,
                                        .ram_size = c->ram_size,
                                        .kernel_file_size = c->kernel.size,
                                        .dtb = c->dtb.gpa,
                                        .dtb_size = c->dtb_room,
                                        .initrd = c->initrd.gpa,
                                        .initrd_size = archives};
    enum layout_fault fault = layout_check(&layout, &image, &entry);
    if (fault != LAYOUT_OK || c->dtb.size > c->dtb_room) {
        log_line(fault != LAYOUT_OK ? layout_fault_text(fault) : "the device tree exceeds its room");
        return;
    }
    if (!place(&c->kernel, entry) || !place(&c->dtb, c->dtb.gpa) || !place(&c->initrd, c->initrd.gpa) ||
        !place(&c->overlay, c->overlay.gpa)) {
        log_line("an image lies outside the guest's RAM; the guest stays down");
        return;
    }
    uint64_t rest = image.image_size - c->kernel.size;
    flush(ram_at(&vmm.ram, entry + c->kernel.size, rest), rest);
    if (c->overlay.size != 0 && c->overlay.gpa > c->initrd.gpa + c->initrd.size) {
        uint64_t gap = c->overlay.gpa - c->initrd.gpa - c->initrd.size;
        uint8_t *hole = ram_at(&vmm.ram, c->initrd.gpa + c->initrd.size, gap);
        memset(hole, 0, gap);
        clean(hole, gap, false);
    }
    psci_init(&vmm.psci, c->vcpus, &vmm.ram);
    vmm.state = GUEST_UP;
    vmm.started_at = timer_now();
    count_total(COUNTS_AT_GUEST, vmm.started_at);
    vcpu_start(0, entry, c->dtb.gpa);
    log_line("the guest starts");
}

/* drain.S */
extern const uint8_t drain_gicv2[], drain_gicv2_end[], drain_gicv3[], drain_gicv3_end[];

/* Completing an interrupt takes a few instructions; a vCPU that calls more often than this hangs. */
#define DRAIN_CALLS 10000u

static void boot_unless_draining(void)
{
    for (uint32_t v = 0; v < vmm_config.vcpus; v++) {
        if (gic_holds(&vmm.gic, v)) {
            return;
        }
    }
    guest_boot();
}

static void start_draining(void)
{
    bool v2 = vmm_config.gic == GIC_V2;
    const uint8_t *code = v2 ? drain_gicv2 : drain_gicv3;
    uint64_t size = (uint64_t)(v2 ? drain_gicv2_end : drain_gicv3_end) - (uint64_t)code;
    memcpy(vmm.ram.host, code, size);
    clean(vmm.ram.host, size, true);
    vmm.state = GUEST_DRAINING;
    vmm.drain_calls = 0;
    for (uint32_t v = 0; v < vmm_config.vcpus; v++) {
        if (gic_holds(&vmm.gic, v)) {
            vcpu_start_draining(v, vmm_config.ram_gpa, vmm_config.gicc, vmm.gic.cpu[v].lr);
        }
    }
}

void guest_drained(uint32_t vcpu)
{
    vmm.drain_calls++;
    if (!gic_holds(&vmm.gic, vcpu)) {
        vcpu_off(vcpu);
        boot_unless_draining();
    } else if (vmm.drain_calls > DRAIN_CALLS) {
        vcpu_off(vcpu);
        vmm.state = GUEST_DOWN;
        log_line("an interrupt of the stopped guest does not end; the guest stays down");
    }
}

void guest_stopped(const char *why, enum vmm_policy policy)
{
    for (uint32_t v = 0; v < vmm_config.vcpus; v++) {
        vcpu_off(v);
    }
    vmm.state = GUEST_DOWN;
    for (uint32_t i = 0; i < vmm_config.config_spaces; i++) {
        pci_quiesce(vmm_config.config_space[i].vaddr, vmm_config.config_space[i].size);
    }
    bus_reset();
    log_line(why);
    if (policy == VMM_RESTART) {
        uint64_t now = timer_now();
        uint32_t delay = backoff_ended(&vmm.backoff, (now - vmm.started_at) / timer_frequency());
        vmm.restart_at = now + delay * timer_frequency();
        if (delay != 0) {
            log_decimal("the guest is started again in ", delay, " s");
        }
    }
}

void guest_restart(void)
{
    vmm.restart_at = TIMER_NEVER;
    vmm.restarts++;
    log_line("restarting the guest");
    start_draining();
    boot_unless_draining();
}
