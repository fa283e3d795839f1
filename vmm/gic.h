/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * State of a virtual interrupt controller, GICv2 or GICv3 (ARM IHI 0048B and IHI 0069).
 *
 * The core holds what the distributor and the redistributors hold, answers their registers, and says
 * which interrupt goes into which list register next. It never touches hardware: the caller writes
 * the list register, and reports the end of interrupt that the hardware's maintenance interrupt
 * announces.
 *
 * An interrupt raised while disabled stays pending. Those that find no free list register wait here;
 * the most urgent one takes the next free register.
 */

#include <stdbool.h>
#include <stdint.h>

#define GIC_MAX_VCPUS 4u
#define GIC_SPI_BANKS 8u                       /* of 32 shared peripheral interrupts each */
#define GIC_INTIDS (32u + 32u * GIC_SPI_BANKS) /* SGIs, PPIs and SPIs that this model has */
#define GIC_MAX_LRS 16u  /* list registers of the largest implementation that seL4 serves */
#define GIC_NONE 0xffffu /* no interrupt */
#define GIC_SGIS 16u
#define GIC_PRIVATE 32u

enum gic_version { GIC_V2 = 2, GIC_V3 = 3 };

/* Thirty-two interrupts, one bit each; a bank of a vCPU's private ones or one of the shared ones. */
struct gic_bank {
    uint32_t enabled;
    uint32_t
        latched;   /* pending by an edge, by software or by a pulse; cleared when it enters a list register */
    uint32_t line; /* level of the input; pending while high if level-sensitive */
    uint32_t edge; /* configuration: 1 = edge-triggered */
    uint32_t group1;
    uint32_t in_lr; /* sits in a list register of some vCPU */
    uint8_t priority[32];
};

struct gic_cpu {
    struct gic_bank own;        /* SGIs 0–15 and PPIs 16–31 */
    uint16_t lr[GIC_MAX_LRS];   /* INTID in each list register, or GIC_NONE */
    uint8_t sgi_from[GIC_SGIS]; /* GICv2: which vCPUs sent the pending SGI */
    bool asleep;                /* GICR_WAKER.ProcessorSleep */
};

struct gic {
    enum gic_version version;
    uint32_t vcpus;
    uint32_t lrs;     /* list registers of the hardware */
    uint32_t control; /* GICD_CTLR as written */
    struct gic_cpu cpu[GIC_MAX_VCPUS];
    struct gic_bank spi[GIC_SPI_BANKS];
    uint8_t target[GIC_SPI_BANKS *
                   32]; /* mask of vCPUs; with GICv3 the one that IROUTER names, 0 if none has it */
    uint64_t route[GIC_SPI_BANKS * 32]; /* GICD_IROUTER as written */
    uint64_t bad_accesses;              /* malformed or unknown register accesses of the guest */
};

/* What to write into a list register. The priority is the five bits that a list register holds. */
struct gic_injection {
    uint16_t intid;
    uint8_t priority;
    uint8_t group;
    uint8_t lr;
};

/* vcpus and lrs are clamped to what the model holds, so a wrong configuration cannot index outside it. */
void gic_init(struct gic *gic, enum gic_version version, uint32_t vcpus, uint32_t lrs);

/* As a reset of the controller: all state goes, but for what the hardware's list registers still hold. */
void gic_reset(struct gic *gic);

/* Whether any list register of this vCPU holds an interrupt. */
bool gic_holds(const struct gic *gic, uint32_t vcpu);

/* Sets the input of an interrupt; a rising edge of an edge-triggered one is latched. vcpu counts for private
 * ones. */
void gic_set_line(struct gic *gic, uint32_t vcpu, uint32_t intid, bool high);

/* Makes an interrupt pending once, whatever its configuration: a pass-through interrupt or a virtual timer.
 */
void gic_pulse(struct gic *gic, uint32_t vcpu, uint32_t intid);

/* The next interrupt to put into a list register of this vCPU, if there is one and a register is free. */
bool gic_next(struct gic *gic, uint32_t vcpu, struct gic_injection *injection);

/* Takes back an injection that the kernel refused: the interrupt is pending again. */
void gic_refused(struct gic *gic, uint32_t vcpu, const struct gic_injection *injection);

/* The guest ended the interrupt in this list register: frees it and returns its INTID, or GIC_NONE. */
uint16_t gic_end(struct gic *gic, uint32_t vcpu, uint32_t lr);

/* Whether this vCPU has an interrupt to take, be it here or in a list register: then WFI must not block. */
bool gic_has_work(const struct gic *gic, uint32_t vcpu);

/* Whether an interrupt neither waits here nor sits in a list register. */
bool gic_is_idle(const struct gic *gic, uint32_t vcpu, uint32_t intid);

/* Guest accesses to the distributor; size is 1, 2, 4 or 8 bytes. A bad access reads as zero, is ignored and
 * counted. */
uint64_t gicd_read(struct gic *gic, uint32_t vcpu, uint64_t offset, uint32_t size);
void gicd_write(struct gic *gic, uint32_t vcpu, uint64_t offset, uint32_t size, uint64_t value);

/* Guest accesses to the GICv3 redistributors, 0x20000 bytes a vCPU: the frame says whose it is. */
#define GICR_FRAME 0x20000u
uint64_t gicr_read(struct gic *gic, uint64_t offset, uint32_t size);
void gicr_write(struct gic *gic, uint64_t offset, uint32_t size, uint64_t value);

/* A write to ICC_SGI1R_EL1 (or ICC_ASGI1R_EL1, ICC_SGI0R_EL1) by this vCPU. */
void gic_sgi1r(struct gic *gic, uint32_t vcpu, uint64_t value);

/* For gic_dist.c and gic_redist.c */
enum gic_field {
    GIC_GROUP,
    GIC_SET_ENABLE,
    GIC_CLEAR_ENABLE,
    GIC_SET_PENDING,
    GIC_CLEAR_PENDING,
    GIC_ACTIVE
};
uint32_t gic_bank_read(const struct gic_bank *bank, enum gic_field field);
void gic_bank_write(struct gic_bank *bank, enum gic_field field, uint32_t value);
/* Two configuration bits an interrupt, sixteen interrupts a register (ICFGR). */
uint32_t gic_config_read(const struct gic_bank *bank, uint32_t half);
void gic_config_write(struct gic_bank *bank, uint32_t half, uint32_t value, uint32_t writable);
