/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Fuzzer of the interrupt controller: register accesses of a guest, inputs of devices, injections and their
 * ends in any order. An interrupt must be in a list register exactly when the model says so, in at most one,
 * and never be delivered while the distributor is off.
 */
#include "fuzz.h"

#include "gic.h"

static struct gic gic;

static void check(void)
{
    uint32_t own[GIC_MAX_VCPUS] = {0};
    uint32_t shared[GIC_SPI_BANKS] = {0};
    for (uint32_t v = 0; v < gic.vcpus; v++) {
        for (uint32_t lr = 0; lr < gic.lrs; lr++) {
            uint16_t intid = gic.cpu[v].lr[lr];
            if (intid == GIC_NONE) {
                continue;
            }
            require(intid < GIC_INTIDS);
            uint32_t *set = intid < GIC_PRIVATE ? &own[v] : &shared[intid / 32 - 1];
            uint32_t bit = 1u << (intid % 32);
            require((*set & bit) == 0); /* not in two list registers */
            *set |= bit;
        }
        require(own[v] == gic.cpu[v].own.in_lr);
    }
    for (uint32_t b = 0; b < GIC_SPI_BANKS; b++) {
        require(shared[b] == gic.spi[b].in_lr);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t left)
{
    uint8_t shape = (uint8_t)take(&data, &left, 1);
    gic_init(&gic, shape & 1 ? GIC_V3 : GIC_V2, shape >> 1 & 7, shape >> 4);
    while (left > 0) {
        uint8_t op = (uint8_t)take(&data, &left, 1);
        uint32_t vcpu = op >> 4 & 3;
        uint32_t size = 1u << (op >> 6);
        uint64_t offset = take(&data, &left, 2);
        struct gic_injection injection;
        switch (op & 0xf) {
        case 0:
        case 1:
            gicd_write(&gic, vcpu, offset & 0x1ff8, size, take(&data, &left, 4));
            break;
        case 2:
            gicd_write(&gic, vcpu, offset << (op >> 7), size, take(&data, &left, 8));
            break;
        case 3:
            gicd_read(&gic, vcpu, offset, size);
            break;
        case 4:
            gicr_write(&gic, (uint64_t)vcpu * GICR_FRAME + 0x10000 + (offset & 0xfff), size,
                       take(&data, &left, 4));
            break;
        case 5:
            gicr_write(&gic, offset << 4, size, take(&data, &left, 4));
            gicr_read(&gic, offset << 4, size);
            break;
        case 6:
        case 7:
            gic_set_line(&gic, vcpu, (uint32_t)(offset % 300), op >> 7);
            break;
        case 8:
            gic_pulse(&gic, vcpu, (uint32_t)offset % 300);
            break;
        case 9:
        case 10:
            if (gic_next(&gic, vcpu, &injection)) {
                require((gic.control & 3) != 0 && injection.priority < 32 && injection.lr < gic.lrs);
                if (op & 0x80) {
                    gic_refused(&gic, vcpu, &injection);
                }
            }
            break;
        case 11:
        case 12:
            gic_end(&gic, vcpu, (uint32_t)offset % 20);
            break;
        case 13:
            gic_sgi1r(&gic, vcpu, take(&data, &left, 8));
            break;
        case 14:
            gic_reset(&gic);
            break;
        default:
            gic_has_work(&gic, vcpu);
            break;
        }
        check();
    }
    return 0;
}
