/* SPDX-License-Identifier: BSD-2-Clause */
#include "gic.h"

#include "mem.h"

static struct gic_bank *bank_of(struct gic *gic, uint32_t vcpu, uint32_t intid)
{
    if (intid >= GIC_INTIDS || vcpu >= gic->vcpus) {
        return NULL;
    }
    return intid < GIC_PRIVATE ? &gic->cpu[vcpu].own : &gic->spi[intid / 32 - 1];
}

void gic_init(struct gic *gic, enum gic_version version, uint32_t vcpus, uint32_t lrs)
{
    memset(gic, 0, sizeof(*gic));
    gic->version = version;
    gic->vcpus = vcpus == 0 ? 1 : (uint32_t)min_u64(vcpus, GIC_MAX_VCPUS);
    gic->lrs = (uint32_t)min_u64(lrs, GIC_MAX_LRS);
    for (uint32_t v = 0; v < GIC_MAX_VCPUS; v++) {
        struct gic_cpu *cpu = &gic->cpu[v];
        /* SGIs are always edge-triggered and, with GICv2, always enabled (IHI 0048B 4.3.5, 4.3.13). */
        cpu->own.edge = 0x0000ffff;
        cpu->own.enabled = version == GIC_V2 ? 0x0000ffff : 0;
        cpu->asleep = version == GIC_V3;
        for (uint32_t i = 0; i < GIC_MAX_LRS; i++) {
            cpu->lr[i] = GIC_NONE;
        }
    }
    /* GICD_ITARGETSR and IROUTER reset to unknown values; the boot vCPU is the useful one. */
    for (uint32_t i = 0; i < GIC_SPI_BANKS * 32; i++) {
        gic->target[i] = 1;
    }
}

void gic_reset(struct gic *gic)
{
    uint16_t lr[GIC_MAX_VCPUS][GIC_MAX_LRS];
    for (uint32_t v = 0; v < GIC_MAX_VCPUS; v++) {
        memcpy(lr[v], gic->cpu[v].lr, sizeof(lr[v]));
    }
    gic_init(gic, gic->version, gic->vcpus, gic->lrs);
    for (uint32_t v = 0; v < gic->vcpus; v++) {
        memcpy(gic->cpu[v].lr, lr[v], sizeof(lr[v]));
        for (uint32_t i = 0; i < gic->lrs; i++) {
            struct gic_bank *bank = bank_of(gic, v, lr[v][i]);
            if (bank != NULL) {
                bank->in_lr |= 1u << (lr[v][i] % 32);
            }
        }
    }
}

bool gic_holds(const struct gic *gic, uint32_t vcpu)
{
    bool any = false;
    for (uint32_t lr = 0; vcpu < gic->vcpus && lr < gic->lrs; lr++) {
        any = any || gic->cpu[vcpu].lr[lr] != GIC_NONE;
    }
    return any;
}

void gic_set_line(struct gic *gic, uint32_t vcpu, uint32_t intid, bool high)
{
    struct gic_bank *bank = bank_of(gic, vcpu, intid);
    if (bank == NULL) {
        return;
    }
    uint32_t bit = 1u << (intid % 32);
    if (high && !(bank->line & bit) && (bank->edge & bit)) {
        bank->latched |= bit;
    }
    bank->line = high ? bank->line | bit : bank->line & ~bit;
}

void gic_pulse(struct gic *gic, uint32_t vcpu, uint32_t intid)
{
    struct gic_bank *bank = bank_of(gic, vcpu, intid);
    if (bank != NULL) {
        bank->latched |= 1u << (intid % 32);
    }
}

static uint32_t candidates(const struct gic_bank *bank)
{
    return (bank->latched | (bank->line & ~bank->edge)) & bank->enabled & ~bank->in_lr;
}

/* The enable bits of GICD_CTLR: with GICv2 only group 0 is used by a guest that sees no security state. */
static bool distributor_on(const struct gic *gic)
{
    return (gic->control & 3u) != 0;
}

/* Visits the pending interrupts of a bank and keeps the most urgent; the lowest number wins a tie. */
static void best_of(const struct gic_bank *bank, uint32_t pending, uint32_t first, uint32_t *best,
                    uint8_t *urgency)
{
    while (pending != 0) {
        uint32_t i = (uint32_t)__builtin_ctz(pending);
        pending &= pending - 1;
        if (*best == GIC_NONE || bank->priority[i] < *urgency) {
            *best = first + i;
            *urgency = bank->priority[i];
        }
    }
}

/* The SPIs of a bank that are routed to this vCPU, out of those in the mask. */
static uint32_t routed(const struct gic *gic, uint32_t bank, uint32_t vcpu, uint32_t mask)
{
    uint32_t mine = 0;
    while (mask != 0) {
        uint32_t i = (uint32_t)__builtin_ctz(mask);
        mask &= mask - 1;
        /* A GICv2 SPI with several targets goes to the first that is there: the model has no 1-of-N race. */
        uint32_t targets = gic->target[bank * 32 + i];
        if (targets != 0 && (uint32_t)__builtin_ctz(targets) == vcpu) {
            mine |= 1u << i;
        }
    }
    return mine;
}

static uint32_t find_pending(const struct gic *gic, uint32_t vcpu)
{
    uint32_t best = GIC_NONE;
    uint8_t urgency = 0xff;
    if (!distributor_on(gic)) {
        return best;
    }
    const struct gic_bank *own = &gic->cpu[vcpu].own;
    best_of(own, candidates(own), 0, &best, &urgency);
    for (uint32_t b = 0; b < GIC_SPI_BANKS; b++) {
        uint32_t pending = candidates(&gic->spi[b]);
        if (pending != 0) {
            best_of(&gic->spi[b], routed(gic, b, vcpu, pending), 32 + 32 * b, &best, &urgency);
        }
    }
    return best;
}

bool gic_next(struct gic *gic, uint32_t vcpu, struct gic_injection *injection)
{
    if (vcpu >= gic->vcpus) {
        return false;
    }
    struct gic_cpu *cpu = &gic->cpu[vcpu];
    uint32_t lr = 0;
    while (lr < gic->lrs && cpu->lr[lr] != GIC_NONE) {
        lr++;
    }
    if (lr == gic->lrs) {
        return false;
    }
    uint32_t intid = find_pending(gic, vcpu);
    if (intid == GIC_NONE) {
        return false;
    }
    struct gic_bank *bank = bank_of(gic, vcpu, intid);
    uint32_t bit = 1u << (intid % 32);
    bank->latched &= ~bit;
    bank->in_lr |= bit;
    cpu->lr[lr] = (uint16_t)intid;
    if (intid < GIC_SGIS) {
        cpu->sgi_from[intid] = 0;
    }
    injection->intid = (uint16_t)intid;
    injection->priority = bank->priority[intid % 32] >> 3;
    /* Linux turns on group 0 of a GICv2 interface without security extensions, and group 1 of a GICv3. */
    injection->group = gic->version == GIC_V3;
    injection->lr = (uint8_t)lr;
    return true;
}

void gic_refused(struct gic *gic, uint32_t vcpu, const struct gic_injection *injection)
{
    if (gic_end(gic, vcpu, injection->lr) == injection->intid) {
        gic_pulse(gic, vcpu, injection->intid);
    }
}

uint16_t gic_end(struct gic *gic, uint32_t vcpu, uint32_t lr)
{
    if (vcpu >= gic->vcpus || lr >= gic->lrs) {
        return GIC_NONE;
    }
    uint16_t intid = gic->cpu[vcpu].lr[lr];
    if (intid == GIC_NONE) {
        return GIC_NONE;
    }
    gic->cpu[vcpu].lr[lr] = GIC_NONE;
    bank_of(gic, vcpu, intid)->in_lr &= ~(1u << (intid % 32));
    return intid;
}

bool gic_has_work(const struct gic *gic, uint32_t vcpu)
{
    if (vcpu >= gic->vcpus) {
        return false;
    }
    return gic_holds(gic, vcpu) || find_pending(gic, vcpu) != GIC_NONE;
}

bool gic_is_idle(const struct gic *gic, uint32_t vcpu, uint32_t intid)
{
    if (intid >= GIC_INTIDS || vcpu >= gic->vcpus) {
        return true;
    }
    const struct gic_bank *bank = intid < GIC_PRIVATE ? &gic->cpu[vcpu].own : &gic->spi[intid / 32 - 1];
    return (((bank->latched | bank->in_lr) >> (intid % 32)) & 1) == 0;
}

void gic_sgi1r(struct gic *gic, uint32_t vcpu, uint64_t value)
{
    uint32_t intid = (uint32_t)(value >> 24) & 0xf;
    bool all_but_self = (value >> 40) & 1;
    /* Affinity 3.2.1 of every vCPU here is 0.0.0 and its affinity 0 below 16, so range selector is 0 too. */
    bool cluster = ((value >> 16) & 0xff) == 0 && ((value >> 32) & 0xff) == 0 && ((value >> 44) & 0xf) == 0 &&
                   ((value >> 48) & 0xff) == 0;
    uint32_t list = cluster ? (uint32_t)value & 0xffff : 0;
    for (uint32_t v = 0; v < gic->vcpus; v++) {
        if (all_but_self ? v != vcpu : ((list >> v) & 1) != 0) {
            gic_pulse(gic, v, intid);
        }
    }
}

uint32_t gic_bank_read(const struct gic_bank *bank, enum gic_field field)
{
    switch (field) {
    case GIC_GROUP:
        return bank->group1;
    case GIC_SET_ENABLE:
    case GIC_CLEAR_ENABLE:
        return bank->enabled;
    case GIC_SET_PENDING:
    case GIC_CLEAR_PENDING:
        return bank->latched | (bank->line & ~bank->edge);
    case GIC_ACTIVE:
        /* Whether a list register's interrupt is pending or active is known to the hardware only. */
        return bank->in_lr;
    }
    return 0;
}

void gic_bank_write(struct gic_bank *bank, enum gic_field field, uint32_t value)
{
    switch (field) {
    case GIC_GROUP:
        bank->group1 = value;
        break;
    case GIC_SET_ENABLE:
        bank->enabled |= value;
        break;
    case GIC_CLEAR_ENABLE:
        bank->enabled &= ~value;
        break;
    case GIC_SET_PENDING:
        bank->latched |= value;
        break;
    case GIC_CLEAR_PENDING:
        bank->latched &= ~value;
        break;
    case GIC_ACTIVE:
        /* A list register cannot be changed from outside; the state ends with the guest's end of interrupt.
         */
        break;
    }
}

uint32_t gic_config_read(const struct gic_bank *bank, uint32_t half)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < 16; i++) {
        value |= ((bank->edge >> (16 * half + i)) & 1u) << (2 * i + 1);
    }
    return value;
}

void gic_config_write(struct gic_bank *bank, uint32_t half, uint32_t value, uint32_t writable)
{
    uint32_t edge = 0;
    for (uint32_t i = 0; i < 16; i++) {
        edge |= ((value >> (2 * i + 1)) & 1u) << (16 * half + i);
    }
    uint32_t mask = (0xffffu << (16 * half)) & writable;
    bank->edge = (bank->edge & ~mask) | (edge & mask);
}
