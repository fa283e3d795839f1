/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/*
 * The configuration of one VMM. The plan decides every value; the build generates one C file with
 * `const struct vmm_config vmm_config` per guest and links it with the same objects. Virtual addresses
 * (`vaddr`) are mappings of this protection domain.
 */

#include "charq.h"
#include "gic.h"
#include "netq.h"

#define VMM_CONSOLES 2u
#define VMM_PROGRAMS 1u /* the one that is the control channel */

/* Part of the guest's start-up state: bytes in a read-only region that are copied to a guest address. */
struct vmm_blob {
    const void *vaddr; /* NULL: none */
    uint64_t size;     /* bytes, exact */
    uint64_t gpa;      /* destination; of the kernel, 0: the boot protocol says where */
};

/* Another port from whose pool this guest may receive. */
struct vmm_peer {
    uint16_t port;
    const void *vaddr; /* mapped read-only */
    uint32_t size;
    uint32_t cid; /* 0: it has a network device */
};

/* The guest's way to the others: a network device, or a vsock device. */
struct vmm_net {
    bool present;
    uint8_t channel; /* to the switch */
    uint32_t cid;    /* of the vsock device; 0: it is a network device, */
    uint8_t mac[6];  /* with these two */
    uint16_t mtu;
    uint64_t gpa; /* of the device's registers */
    uint32_t intid;
    struct netq_port *rings; /* NETQ_PORT_BYTES, shared with the switch, read-write */
    void *pool;              /* read-write here, read-only in the switch and in the peers */
    uint32_t pool_size;
    uint32_t peers;
    const struct vmm_peer *peer;
};

struct vmm_console {
    bool present;
    uint8_t channel; /* to the console */
    uint64_t gpa;
    uint32_t intid;
    struct charq_port *ring; /* CHARQ_REGION_BYTES, shared with the console, read-write */
};

/* A physical interrupt that belongs to the guest. */
struct vmm_irq {
    uint8_t channel;
    uint16_t intid;
};

/* PCI configuration space of devices that belong to the guest (ECAM). */
struct vmm_config_space {
    void *vaddr; /* mapped uncached */
    uint32_t size;
};

/* What to do when the guest crashes, powers off or resets itself. */
enum vmm_policy { VMM_STAY_DOWN, VMM_RESTART };

struct vmm_config {
    const char *name; /* of the guest, for messages */
    enum gic_version gic;
    uint64_t gicd;           /* guest-physical addresses */
    uint64_t gicr;           /* GICv3 only */
    uint64_t gicc;           /* GICv2 only: where the guest sees its CPU interface */
    uint32_t list_registers; /* of the board's GIC; 4 on both boards */
    uint32_t vcpus;
    uint8_t priority; /* of the vCPUs while the guest answers; else one less */

    uint64_t ram_gpa;
    uint64_t ram_size;
    void *ram;

    struct vmm_blob kernel; /* a raw arm64 Image */
    struct vmm_blob dtb;
    uint64_t dtb_room;      /* bytes that the guest may find the tree in; at least dtb.size */
    struct vmm_blob initrd; /* the image that guests share */
    struct vmm_blob
        overlay; /* this guest's own archive; its gpa is initrd.gpa + initrd.size, rounded up to 4 */

    struct vmm_net net;
    struct vmm_console console[VMM_CONSOLES]; /* 0: for people, hvc0; 1: for programs, hvc1 */
    uint64_t pl011_gpa;                       /* early console, 0: none; its output goes to console 0 */

    uint32_t irqs;
    const struct vmm_irq *irq;

    uint32_t config_spaces;
    const struct vmm_config_space *config_space;

    uint32_t smcs; /* function identifiers that are passed on to the firmware; all others are refused */
    const uint32_t *smc;

    uint8_t timer_channel; /* protected calls to the timer */

    enum vmm_policy on_crash;
    enum vmm_policy on_poweroff;
    enum vmm_policy on_reset;
};

extern const struct vmm_config vmm_config;
