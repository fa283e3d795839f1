/* SPDX-License-Identifier: BSD-2-Clause */
#include "counts.h"
#include "pl011_early.h"
#include "timer.h"
#include "vmm.h"

static bool within(uint64_t gpa, uint64_t base, uint64_t length)
{
    return base != 0 && gpa >= base && gpa - base < length;
}

/* The device that is connected to the switch. */
static struct virtio_device *switched(void)
{
    return vmm_config.net.cid != 0 ? &vmm.vsock.dev : &vmm.net.dev;
}

static void init_vsock(const struct vmm_net *net)
{
    virtio_vsock_init(&vmm.vsock, &vmm.ram, net->cid, net->rings, net->pool, net->pool_size,
                      timer_frequency());
    for (uint32_t i = 0; i < net->peers; i++) {
        const struct vmm_peer *peer = &net->peer[i];
        if (peer->port < VIRTIO_VSOCK_MAX_PORTS) {
            vmm.vsock.source[peer->port] =
                (struct virtio_vsock_source){.pool = peer->vaddr, .size = peer->size, .cid = peer->cid};
        }
    }
}

static void init_net(const struct vmm_net *net)
{
    virtio_net_init(&vmm.net, &vmm.ram, net->mac, net->mtu, net->rings, net->pool, net->pool_size,
                    timer_frequency());
    for (uint32_t i = 0; i < net->peers; i++) {
        const struct vmm_peer *peer = &net->peer[i];
        if (peer->port < VIRTIO_NET_MAX_PORTS) {
            vmm.net.source[peer->port] = (struct virtio_net_source){.pool = peer->vaddr, .size = peer->size};
        }
    }
}

void bus_init(void)
{
    const struct vmm_config *c = &vmm_config;
    vmm.ram = (struct guest_ram){.base = c->ram_gpa, .size = c->ram_size, .host = c->ram};
    gic_init(&vmm.gic, c->gic, c->vcpus, c->list_registers);
    if (c->net.present && c->net.cid != 0) {
        init_vsock(&c->net);
    } else if (c->net.present) {
        init_net(&c->net);
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
        virtio_device_reset(switched());
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

/* Moves what the guest sends, then what it receives; `wake`: the switch has to be notified. Returns the ticks
 * that receiving took, and adds to `vmm.receiving` those that the senders pay. */
static uint64_t move(bool *wake)
{
    bool vsock = vmm_config.net.cid != 0;
    if (vsock) {
        virtio_vsock_send(&vmm.vsock);
    } else {
        virtio_net_send(&vmm.net);
    }
    uint64_t sent = timer_now();
    *wake = vsock ? virtio_vsock_finish(&vmm.vsock) : virtio_net_finish(&vmm.net);
    uint64_t receiving = timer_now() - sent;
    uint64_t paid = vsock ? virtio_vsock_paid(&vmm.vsock, receiving) : virtio_net_paid(&vmm.net, receiving);
    vmm.receiving += paid;
    return receiving - paid;
}

static void count_moved(uint64_t frames_out, uint64_t bytes_out, uint64_t frames_in, uint64_t bytes_in)
{
    count_total(COUNTS_FRAMES_OUT, frames_out);
    count_total(COUNTS_BYTES_OUT, bytes_out);
    count_total(COUNTS_FRAMES_IN, frames_in);
    count_total(COUNTS_BYTES_IN, bytes_in);
}

uint64_t bus_run_net(void)
{
    const struct vmm_net *net = &vmm_config.net;
    const struct virtio_net_counters *frames = &vmm.net.counters;
    const struct virtio_vsock_counters *packets = &vmm.vsock.counters;
    bool wake;
    uint64_t start = timer_now(), unpaid = move(&wake);
    if (wake) {
        count(COUNTS_TO_SWITCH);
        microkit_notify(net->channel); /* on the same core, the switch runs now */
    }
    if (net->cid != 0) {
        count_moved(packets->tx_packets, packets->tx_bytes, packets->rx_packets, packets->rx_bytes);
        uint64_t now = timer_now();
        virtio_vsock_took(&vmm.vsock, now - start);
        vmm.net_due = virtio_vsock_deadline(&vmm.vsock, now);
    } else {
        count_moved(frames->tx_frames, frames->tx_bytes, frames->rx_frames, frames->rx_bytes);
        uint64_t now = timer_now();
        virtio_net_took(&vmm.net, now - start);
        vmm.net_due = virtio_net_deadline(&vmm.net, now);
    }
    gic_set_line(&vmm.gic, 0, net->intid, virtio_line(switched()));
    return unpaid;
}

bool bus_net_pending(void)
{
    return vmm_config.net.cid != 0 ? virtio_vsock_pending(&vmm.vsock) : virtio_net_pending(&vmm.net);
}

void bus_net_due(uint64_t now)
{
    if (vmm_config.net.cid != 0) {
        virtio_vsock_due(&vmm.vsock, now);
    } else {
        virtio_net_due(&vmm.net, now);
    }
    bus_run_net();
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
        *value = virtio_mmio_read(switched(), gpa - c->net.gpa, size);
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
        virtio_mmio_write(switched(), gpa - c->net.gpa, size, value);
        /* An acknowledgement lowers the line; it must be seen low before the device may raise it again, or an
         * edge-triggered interrupt would be lost. */
        gic_set_line(&vmm.gic, 0, c->net.intid, virtio_line(switched()));
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
