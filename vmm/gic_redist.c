/* SPDX-License-Identifier: BSD-2-Clause */

/* The GICv3 redistributors: a frame for control and one for SGIs and PPIs, 64 KiB each, for every vCPU (IHI
 * 0069 12.11). */

#include "gic.h"

enum {
    GICR_CTLR = 0x0000,
    GICR_IIDR = 0x0004,
    GICR_TYPER = 0x0008,
    GICR_WAKER = 0x0014,
    GICR_PIDR2 = 0xffe8,
    SGI_FRAME = 0x10000,
    SGI_IGROUPR = SGI_FRAME + 0x080,
    SGI_IPRIORITYR = SGI_FRAME + 0x400,
    SGI_ICFGR0 = SGI_FRAME + 0xc00,
    SGI_ICFGR1 = SGI_FRAME + 0xc04,
    SGI_IGRPMODR = SGI_FRAME + 0xd00,
};

#define WAKER_PROCESSOR_SLEEP (1u << 1)
#define WAKER_CHILDREN_ASLEEP (1u << 2)

static uint64_t typer(const struct gic *gic, uint32_t vcpu)
{
    uint64_t last = vcpu + 1 == gic->vcpus;
    return (uint64_t)vcpu << 32 | (uint64_t)vcpu << 8 | last << 4;
}

static bool is_bits(uint32_t offset)
{
    return offset >= SGI_IGROUPR && offset < SGI_IPRIORITYR && offset % 0x80 == 0;
}

static enum gic_field field_of(uint32_t offset)
{
    uint32_t index = (offset - SGI_IGROUPR) / 0x80;
    return index >= GIC_ACTIVE ? GIC_ACTIVE : (enum gic_field)index;
}

static uint64_t read_word(struct gic *gic, uint32_t vcpu, uint32_t offset)
{
    struct gic_cpu *cpu = &gic->cpu[vcpu];
    if (is_bits(offset)) {
        return gic_bank_read(&cpu->own, field_of(offset));
    }
    switch (offset) {
    case GICR_CTLR:
    case SGI_IGRPMODR:
        return 0;
    case GICR_IIDR:
        return 0x43b;
    case GICR_TYPER:
        return typer(gic, vcpu) & 0xffffffff;
    case GICR_TYPER + 4:
        return typer(gic, vcpu) >> 32;
    case GICR_WAKER:
        return cpu->asleep ? WAKER_PROCESSOR_SLEEP | WAKER_CHILDREN_ASLEEP : 0;
    case GICR_PIDR2:
        return 0x3b;
    case SGI_ICFGR0:
    case SGI_ICFGR1:
        return gic_config_read(&cpu->own, offset == SGI_ICFGR1);
    default:
        gic->bad_accesses++;
        return 0;
    }
}

static void write_word(struct gic *gic, uint32_t vcpu, uint32_t offset, uint32_t value)
{
    struct gic_cpu *cpu = &gic->cpu[vcpu];
    if (is_bits(offset)) {
        gic_bank_write(&cpu->own, field_of(offset), value);
        return;
    }
    switch (offset) {
    case GICR_CTLR: /* no LPIs: nothing in it can be set */
    case SGI_ICFGR0:
    case SGI_IGRPMODR:
        break;
    case GICR_WAKER:
        cpu->asleep = (value & WAKER_PROCESSOR_SLEEP) != 0;
        break;
    case SGI_ICFGR1:
        gic_config_write(&cpu->own, 1, value, 0xffff0000);
        break;
    default:
        gic->bad_accesses++;
        break;
    }
}

/* Whose frame an access falls into; false when it is malformed. */
static bool locate(const struct gic *gic, uint64_t offset, uint32_t size, uint32_t *vcpu, uint32_t *in_frame)
{
    bool power = size == 1 || size == 2 || size == 4 || size == 8;
    if (gic->version != GIC_V3 || !power || offset % size != 0 || offset / GICR_FRAME >= gic->vcpus) {
        return false;
    }
    *vcpu = (uint32_t)(offset / GICR_FRAME);
    *in_frame = (uint32_t)(offset % GICR_FRAME);
    return true;
}

static bool is_priority(uint32_t offset, uint32_t size)
{
    return offset >= SGI_IPRIORITYR && offset + size <= SGI_IPRIORITYR + GIC_PRIVATE && size <= 4;
}

uint64_t gicr_read(struct gic *gic, uint64_t offset, uint32_t size)
{
    uint32_t vcpu, reg;
    if (locate(gic, offset, size, &vcpu, &reg)) {
        if (is_priority(reg, size)) {
            uint64_t value = 0;
            for (uint32_t i = 0; i < size; i++) {
                value |= (uint64_t)gic->cpu[vcpu].own.priority[reg - SGI_IPRIORITYR + i] << (8 * i);
            }
            return value;
        }
        if (size == 8 && reg == GICR_TYPER) {
            return typer(gic, vcpu);
        }
        if (size == 4) {
            return read_word(gic, vcpu, reg);
        }
    }
    gic->bad_accesses++;
    return 0;
}

void gicr_write(struct gic *gic, uint64_t offset, uint32_t size, uint64_t value)
{
    uint32_t vcpu, reg;
    if (!locate(gic, offset, size, &vcpu, &reg)) {
        gic->bad_accesses++;
    } else if (is_priority(reg, size)) {
        for (uint32_t i = 0; i < size; i++) {
            gic->cpu[vcpu].own.priority[reg - SGI_IPRIORITYR + i] = (uint8_t)(value >> (8 * i)) & 0xf8;
        }
    } else if (size == 4) {
        write_word(gic, vcpu, reg, (uint32_t)value);
    } else {
        gic->bad_accesses++;
    }
}
