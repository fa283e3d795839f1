/* SPDX-License-Identifier: BSD-2-Clause */
#include "counts.h"
#include "pl011_early.h"
#include "timer.h"
#include "vmm.h"

static bool within(uint64_t gpa, uint64_t base, uint64_t length)
{
    return base != 0 && gpa >= base && gpa - base < length;
}

void bus_init(void)
{
    const struct vmm_config *c = &vmm_config;
    vmm.ram = (struct guest_ram){.base = c->ram_gpa, .size = c->ram_size, .host = c->ram};
    gic_init(&vmm.gic, c->gic, c->vcpus, c->list_registers);
    if (c->net.present) {
        virtio_net_init(&vmm.net, &vmm.ram, c->net.mac, c->net.mtu, c->net.rings, c->net.pool,
                        c->net.pool_size, timer_frequency());
        for (uint32_t i = 0; i < c->net.peers; i++) {
            const struct vmm_peer *peer = &c->net.peer[i];
            if (peer->port < VIRTIO_NET_MAX_PORTS) {
                vmm.net.source[peer->port] =
                    (struct virtio_net_source){.pool = peer->vaddr, .size = peer->size};
            }
        }
    }
    for (uint32_t i = 0; i < VMM_CONSOLES; i++) {
        if (c->console[i].present) {
            virtio_console_init(&vmm.console[i], &vmm.ram, c->console[i].ring);
        }
    }
}

void bus_reset(void)
{
    const struct vmm_config *c = &vmm_config;
    gic_reset(&vmm.gic);
    if (c->net.present) {
        virtio_device_reset(&vmm.net.dev);
        bus_run_net();
    }
    for (uint32_t i = 0; i < VMM_CONSOLES; i++) {
        if (c->console[i].present) {
            virtio_device_reset(&vmm.console[i].dev);
        }
    }
    for (uint32_t i = 0; i < c->irqs; i++) {
        if ((vmm.irq_busy >> i) & 1) {
            microkit_irq_ack(c->irq[i].channel);
        }
    }
    vmm.irq_busy = 0;
}

uint64_t bus_run_net(void)
{
    const struct vmm_net *net = &vmm_config.net;
    uint64_t start = timer_now();
    virtio_net_send(&vmm.net);
    uint64_t sent = timer_now();
    bool wake = virtio_net_finish(&vmm.net);
    uint64_t receiving = timer_now() - sent, paid = virtio_net_paid(&vmm.net, receiving);
    vmm.receiving += paid;
    if (wake) {
        count(COUNTS_TO_SWITCH);
        microkit_notify(net->channel); /* on the same core, the switch runs now */
    }
    const struct virtio_net_counters *moved = &vmm.net.counters;
    count_total(COUNTS_FRAMES_OUT, moved->tx_frames);
    count_total(COUNTS_BYTES_OUT, moved->tx_bytes);
    count_total(COUNTS_FRAMES_IN, moved->rx_frames);
    count_total(COUNTS_BYTES_IN, moved->rx_bytes);
    uint64_t now = timer_now();
    virtio_net_took(&vmm.net, now - start);
    vmm.net_due = virtio_net_deadline(&vmm.net, now);
    gic_set_line(&vmm.gic, 0, net->intid, virtio_line(&vmm.net.dev));
    return receiving - paid;
}

void bus_run_console(uint32_t index)
{
    const struct vmm_console *c = &vmm_config.console[index];
    if (virtio_console_run(&vmm.console[index])) {
        count(COUNTS_TO_CONSOLE);
        microkit_notify(c->channel);
    }
    gic_set_line(&vmm.gic, 0, c->intid, virtio_line(&vmm.console[index].dev));
}

static void count_virtio(enum counts_kind kind)
{
    count(kind);
    if (counts.of[COUNTS_AT_DEVICES] == 0) {
        count_total(COUNTS_AT_DEVICES, timer_now());
    }
}

bool bus_read(uint32_t vcpu, uint64_t gpa, uint32_t size, uint64_t *value)
{
    const struct vmm_config *c = &vmm_config;
    if (within(gpa, c->gicd, c->gic == GIC_V2 ? 0x1000 : 0x10000)) {
        count(COUNTS_TRAP_GIC);
        *value = gicd_read(&vmm.gic, vcpu, gpa - c->gicd, size);
        return true;
    }
    if (c->gic == GIC_V3 && within(gpa, c->gicr, (uint64_t)GICR_FRAME * c->vcpus)) {
        count(COUNTS_TRAP_GIC);
        *value = gicr_read(&vmm.gic, gpa - c->gicr, size);
        return true;
    }
    if (c->net.present && within(gpa, c->net.gpa, VIRTIO_MMIO_LENGTH)) {
        count_virtio(COUNTS_TRAP_NET);
        *value = virtio_mmio_read(&vmm.net.dev, gpa - c->net.gpa, size);
        return true;
    }
    for (uint32_t i = 0; i < VMM_CONSOLES; i++) {
        if (c->console[i].present && within(gpa, c->console[i].gpa, VIRTIO_MMIO_LENGTH)) {
            count_virtio(COUNTS_TRAP_CONSOLE);
            *value = virtio_mmio_read(&vmm.console[i].dev, gpa - c->console[i].gpa, size);
            return true;
        }
    }
    if (within(gpa, c->pl011_gpa, PL011_LENGTH)) {
        count(COUNTS_TRAP_EARLY);
        *value = pl011_early_read(gpa - c->pl011_gpa, size);
        return true;
    }
    return false;
}

bool bus_write(uint32_t vcpu, uint64_t gpa, uint32_t size, uint64_t value)
{
    const struct vmm_config *c = &vmm_config;
    if (within(gpa, c->gicd, c->gic == GIC_V2 ? 0x1000 : 0x10000)) {
        count(COUNTS_TRAP_GIC);
        gicd_write(&vmm.gic, vcpu, gpa - c->gicd, size, value);
        return true;
    }
    if (c->gic == GIC_V3 && within(gpa, c->gicr, (uint64_t)GICR_FRAME * c->vcpus)) {
        count(COUNTS_TRAP_GIC);
        gicr_write(&vmm.gic, gpa - c->gicr, size, value);
        return true;
    }
    if (c->net.present && within(gpa, c->net.gpa, VIRTIO_MMIO_LENGTH)) {
        count_virtio(COUNTS_TRAP_NET);
        virtio_mmio_write(&vmm.net.dev, gpa - c->net.gpa, size, value);
        /* An acknowledgement lowers the line; it must be seen low before the device may raise it again, or an
         * edge-triggered interrupt would be lost. */
        gic_set_line(&vmm.gic, 0, c->net.intid, virtio_line(&vmm.net.dev));
        bus_run_net();
        return true;
    }
    for (uint32_t i = 0; i < VMM_CONSOLES; i++) {
        if (c->console[i].present && within(gpa, c->console[i].gpa, VIRTIO_MMIO_LENGTH)) {
            count_virtio(COUNTS_TRAP_CONSOLE);
            virtio_mmio_write(&vmm.console[i].dev, gpa - c->console[i].gpa, size, value);
            gic_set_line(&vmm.gic, 0, c->console[i].intid, virtio_line(&vmm.console[i].dev));
            bus_run_console(i);
            return true;
        }
    }
    if (within(gpa, c->pl011_gpa, PL011_LENGTH)) {
        uint8_t byte;
        count(COUNTS_TRAP_EARLY);
        if (pl011_early_write(gpa - c->pl011_gpa, size, value, &byte) && c->console[0].present) {
            console_early(byte);
        }
        return true;
    }
    return false;
}
