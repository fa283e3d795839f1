/* SPDX-License-Identifier: BSD-2-Clause */

/* The distributor's registers: GICv2 in 4 KiB (IHI 0048B 4.3), GICv3 in 64 KiB (IHI 0069 12.9). */

#include "gic.h"

enum {
    GICD_CTLR = 0x000,
    GICD_TYPER = 0x004,
    GICD_IIDR = 0x008,
    GICD_IGROUPR = 0x080, /* the bit-per-interrupt arrays follow each other, 0x80 bytes each */
    GICD_ICACTIVER = 0x380,
    GICD_IPRIORITYR = 0x400,
    GICD_ITARGETSR = 0x800,
    GICD_ICFGR = 0xc00,
    GICD_SGIR = 0xf00,
    GICD_CPENDSGIR = 0xf10,
    GICD_SPENDSGIR = 0xf20,
    GICD_PIDR2_V2 = 0xfe8,
    GICD_IROUTER = 0x6000,
    GICD_PIDR2_V3 = 0xffe8,
};

#define CTLR_ARE (1u << 4)
#define CTLR_DS (1u << 6)
#define ROUTE_BITS 0xff80ffffffULL /* Aff3, Interrupt_Routing_Mode, Aff2, Aff1, Aff0 */
#define IIDR_ARM 0x43bu            /* implementer: Arm */

static struct gic_bank *bank_at(struct gic *gic, uint32_t vcpu, uint32_t index)
{
    if (index == 0) {
        /* With affinity routing the private interrupts are the redistributor's; here they read as zero. */
        return gic->version == GIC_V2 ? &gic->cpu[vcpu].own : 0;
    }
    return index <= GIC_SPI_BANKS ? &gic->spi[index - 1] : 0;
}

/* Registers of one byte an interrupt may be accessed by byte or word; all others by word. */
static bool byte_wise(const struct gic *gic, uint64_t offset)
{
    return (offset >= GICD_IPRIORITYR && offset < GICD_ICFGR) ||
           (gic->version == GIC_V2 && offset >= GICD_CPENDSGIR && offset < GICD_SPENDSGIR + 16);
}

static uint8_t read_byte(struct gic *gic, uint32_t vcpu, uint32_t offset)
{
    if (offset >= GICD_CPENDSGIR) {
        return gic->cpu[vcpu].sgi_from[(offset - GICD_CPENDSGIR) % 16];
    }
    uint32_t intid = offset % 0x400;
    struct gic_bank *bank = bank_at(gic, vcpu, intid / 32);
    if (bank == 0) {
        return 0;
    }
    if (offset < GICD_ITARGETSR) {
        return bank->priority[intid % 32];
    }
    if (gic->version != GIC_V2) {
        return 0;
    }
    if (intid < GIC_PRIVATE) {
        return (uint8_t)(1u << vcpu);
    }
    return gic->target[intid - GIC_PRIVATE];
}

static void write_pending_sgi(struct gic *gic, uint32_t vcpu, uint32_t offset, uint8_t value)
{
    uint32_t sgi = offset % 16;
    uint8_t *from = &gic->cpu[vcpu].sgi_from[sgi];
    uint8_t present = (uint8_t)(value & ((1u << gic->vcpus) - 1));
    struct gic_bank *own = &gic->cpu[vcpu].own;
    if (offset >= GICD_SPENDSGIR) {
        *from |= present;
        own->latched |= present != 0 ? 1u << sgi : 0;
    } else {
        *from = (uint8_t)(*from & ~present);
        own->latched &= *from == 0 ? ~(1u << sgi) : ~0u;
    }
}

static void write_byte(struct gic *gic, uint32_t vcpu, uint32_t offset, uint8_t value)
{
    if (offset >= GICD_CPENDSGIR) {
        write_pending_sgi(gic, vcpu, offset, value);
        return;
    }
    uint32_t intid = offset % 0x400;
    struct gic_bank *bank = bank_at(gic, vcpu, intid / 32);
    if (bank == 0) {
        return;
    }
    if (offset < GICD_ITARGETSR) {
        /* Five priority bits, as many as a list register keeps. */
        bank->priority[intid % 32] = value & 0xf8;
    } else if (gic->version == GIC_V2 && intid >= GIC_PRIVATE) {
        gic->target[intid - GIC_PRIVATE] = (uint8_t)(value & ((1u << gic->vcpus) - 1));
    }
}

static uint32_t read_word(struct gic *gic, uint32_t vcpu, uint64_t offset)
{
    if (offset >= GICD_IGROUPR && offset < GICD_IPRIORITYR) {
        struct gic_bank *bank = bank_at(gic, vcpu, (uint32_t)(offset % 0x80) / 4);
        enum gic_field field =
            offset >= 0x300 ? GIC_ACTIVE : (enum gic_field)((offset - GICD_IGROUPR) / 0x80);
        return bank != 0 ? gic_bank_read(bank, field) : 0;
    }
    if (offset >= GICD_ICFGR && offset < GICD_ICFGR + 0x100) {
        uint32_t index = (uint32_t)(offset - GICD_ICFGR) / 4;
        struct gic_bank *bank = bank_at(gic, vcpu, index / 2);
        return bank != 0 ? gic_config_read(bank, index % 2) : 0;
    }
    switch (offset) {
    case GICD_CTLR:
        return gic->version == GIC_V3 ? gic->control | CTLR_ARE | CTLR_DS : gic->control;
    case GICD_TYPER:
        /* ITLinesNumber and CPUNumber; with GICv3 ten identifier bits (IDbits = 9). */
        return GIC_SPI_BANKS | ((gic->vcpus - 1) << 5) | (gic->version == GIC_V3 ? 9u << 19 : 0);
    case GICD_IIDR:
        return IIDR_ARM;
    default:
        break;
    }
    if (offset == (gic->version == GIC_V2 ? GICD_PIDR2_V2 : GICD_PIDR2_V3)) {
        return ((uint32_t)gic->version << 4) | 0xb;
    }
    gic->bad_accesses++;
    return 0;
}

static void send_sgi(struct gic *gic, uint32_t vcpu, uint32_t value)
{
    uint32_t filter = (value >> 24) & 3;
    uint32_t all = (1u << gic->vcpus) - 1;
    uint32_t list = filter == 0 ? (value >> 16) & all : filter == 1 ? all & ~(1u << vcpu) : 1u << vcpu;
    if (filter == 3) {
        gic->bad_accesses++;
        return;
    }
    for (uint32_t v = 0; v < gic->vcpus; v++) {
        if ((list >> v) & 1) {
            gic->cpu[v].sgi_from[value & 0xf] |= (uint8_t)(1u << vcpu);
            gic_pulse(gic, v, value & 0xf);
        }
    }
}

static void write_word(struct gic *gic, uint32_t vcpu, uint64_t offset, uint32_t value)
{
    if (offset >= GICD_IGROUPR && offset < GICD_IPRIORITYR) {
        uint32_t index = (uint32_t)(offset % 0x80) / 4;
        struct gic_bank *bank = bank_at(gic, vcpu, index);
        enum gic_field field =
            offset >= 0x300 ? GIC_ACTIVE : (enum gic_field)((offset - GICD_IGROUPR) / 0x80);
        if (index == 0 && field != GIC_GROUP) {
            /* GICv2: enables of SGIs are fixed, and their pending state changes by S/CPENDSGIR only. */
            value &= 0xffff0000;
        }
        if (bank != 0) {
            gic_bank_write(bank, field, value);
        }
        return;
    }
    if (offset >= GICD_ICFGR && offset < GICD_ICFGR + 0x100) {
        uint32_t index = (uint32_t)(offset - GICD_ICFGR) / 4;
        struct gic_bank *bank = bank_at(gic, vcpu, index / 2);
        if (bank != 0) {
            gic_config_write(bank, index % 2, value, index < 2 ? 0xffff0000 : 0xffffffff);
        }
        return;
    }
    if (offset == GICD_CTLR) {
        gic->control = value & 3;
    } else if (offset == GICD_SGIR && gic->version == GIC_V2) {
        send_sgi(gic, vcpu, value);
    } else {
        gic->bad_accesses++;
    }
}

static bool is_route(const struct gic *gic, uint64_t offset, uint32_t size)
{
    return gic->version == GIC_V3 && offset >= GICD_IROUTER + 8 * GIC_PRIVATE &&
           offset < GICD_IROUTER + 8 * GIC_INTIDS && (size == 4 || size == 8);
}

static void write_route(struct gic *gic, uint64_t offset, uint32_t size, uint64_t value)
{
    uint32_t spi = (uint32_t)(offset - GICD_IROUTER) / 8 - GIC_PRIVATE;
    uint64_t route = gic->route[spi];
    if (size == 8) {
        route = value;
    } else if (offset % 8 == 0) {
        route = (route & ~0xffffffffULL) | (value & 0xffffffff);
    } else {
        route = (route & 0xffffffff) | value << 32;
    }
    route &= ROUTE_BITS;
    gic->route[spi] = route;
    if ((route >> 31) & 1) {
        gic->target[spi] = (uint8_t)((1u << gic->vcpus) - 1); /* any vCPU: the first one takes it */
    } else {
        uint32_t mask = route < gic->vcpus ? 1u << route : 0;
        gic->target[spi] = (uint8_t)mask;
    }
}

static bool well_formed(const struct gic *gic, uint32_t vcpu, uint64_t offset, uint32_t size)
{
    bool power = size == 1 || size == 2 || size == 4 || size == 8;
    uint64_t length = gic->version == GIC_V2 ? 0x1000 : 0x10000;
    return vcpu < gic->vcpus && power && offset % size == 0 && offset < length;
}

uint64_t gicd_read(struct gic *gic, uint32_t vcpu, uint64_t offset, uint32_t size)
{
    if (!well_formed(gic, vcpu, offset, size)) {
        gic->bad_accesses++;
        return 0;
    }
    if (is_route(gic, offset, size)) {
        uint64_t route = gic->route[(offset - GICD_IROUTER) / 8 - GIC_PRIVATE];
        return size == 8 ? route : offset % 8 == 0 ? route & 0xffffffff : route >> 32;
    }
    if (byte_wise(gic, offset) && size <= 4) {
        uint64_t value = 0;
        for (uint32_t i = 0; i < size; i++) {
            value |= (uint64_t)read_byte(gic, vcpu, (uint32_t)offset + i) << (8 * i);
        }
        return value;
    }
    if (size != 4) {
        gic->bad_accesses++;
        return 0;
    }
    return read_word(gic, vcpu, offset);
}

void gicd_write(struct gic *gic, uint32_t vcpu, uint64_t offset, uint32_t size, uint64_t value)
{
    if (!well_formed(gic, vcpu, offset, size)) {
        gic->bad_accesses++;
    } else if (is_route(gic, offset, size)) {
        write_route(gic, offset, size, value);
    } else if (byte_wise(gic, offset) && size <= 4) {
        for (uint32_t i = 0; i < size; i++) {
            write_byte(gic, vcpu, (uint32_t)offset + i, (uint8_t)(value >> (8 * i)));
        }
    } else if (size == 4) {
        write_word(gic, vcpu, offset, (uint32_t)value);
    } else {
        gic->bad_accesses++;
    }
}
