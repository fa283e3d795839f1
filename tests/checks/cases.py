# SPDX-License-Identifier: BSD-2-Clause
"""For each invariant a plan that holds, and one minimal change that breaks it and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from ipaddress import IPv4Address

from router.boards.model import Range
from router.description.models import Description, Transport
from router.plan.models import (
    Channel,
    DeviceRegion,
    End,
    Grant,
    Irq,
    MemoryRegion,
    RegionKind,
    SystemPlan,
    VirtualCpu,
    VSwitchRule,
)
from tests.checks.mutations import (
    add_map,
    add_vm_map,
    own,
    own_irq,
    pd_of,
    with_address,
    with_channel,
    with_guest,
    with_map,
    with_pd,
    with_region,
    with_spare,
    with_vm,
    with_vm_map,
    with_vswitch,
)
from tests.support.systems import described, many, plan_of, shipped

BASES: dict[str, Callable[[], SystemPlan]] = {
    "two": lambda: plan_of(shipped("qemu"), "2.3.0"),
    "old": lambda: plan_of(shipped("qemu"), "2.0.1"),
    "small": lambda: plan_of(many(2)),
    "three": lambda: plan_of(many(3)),
    "vsock": lambda: plan_of(on_vsock(many(2))),
}


def on_vsock(description: Description) -> Description:
    """The same without Ethernet."""
    network = description.network.model_copy(update={"transport": Transport.VSOCK})
    return description.model_copy(update={"network": network})


def with_memory(server: str, client: str) -> Description:
    """Two guests with that much memory each."""
    return described(
        {
            "system": "large",
            "board": "qemu",
            "guests": {
                "server": {"image": "usb-server", "memory": server},
                "client": {"image": "usb-client", "memory": client},
            },
        }
    )


def with_queues(description: Description, depth: int, buffer: int) -> Description:
    network = description.network
    queue = network.queue.model_copy(update={"depth": depth, "buffer": buffer})
    return description.model_copy(update={"network": network.model_copy(update={"queue": queue})})


def disks_open_to_another(plan: SystemPlan) -> SystemPlan:
    """The first client's disks go as blocks, and the second client reaches them too."""
    plan = plan.but(grants=(replace(plan.grants[0], blocks=4421), *plan.grants[1:]))
    more = (VSwitchRule(1, 0, "tcp", 4421), VSwitchRule(2, 0, "tcp", 4421))
    return with_vswitch(plan, rules=(*plan.vswitch.rules, *more))


def swapped_consoles(plan: SystemPlan) -> SystemPlan:
    plan = with_map(plan, "vmm_client", "client_console", region="server_console")
    return with_map(plan, "vmm_server", "server_console", region="client_console")


@dataclass(frozen=True)
class Case:
    """An invariant, a plan that holds, and the one change that breaks it."""

    name: str
    base: str
    mutate: Callable[[SystemPlan], SystemPlan]


CASES = (
    Case("sdk-known", "two", lambda plan: plan.but(sdk="2.4.0")),
    Case("sdk-config", "old", lambda plan: plan.but(config="smp-debug")),
    Case("cores", "two", lambda plan: with_pd(plan, "timer", cpu=1)),
    Case("sdk-smc", "old", lambda plan: with_guest(with_pd(plan, "vmm_client", smc=True), "client", smc=(0xC2000000,))),
    Case("sdk-one-block", "old", lambda _: plan_of(many(25), "2.0.1")),
    Case("sdk-contexts", "old", lambda _: plan_of(many(29, memory="2 MiB"), "2.0.1")),
    Case("regions-exist", "two", lambda plan: add_map(plan, "console", "nothing", "rw")),
    Case(
        "regions-used",
        "two",
        lambda plan: plan.but(
            regions=(*plan.regions, MemoryRegion("spare", 0x1000, RegionKind.DEVICE, phys_addr=0x5000_0000))
        ),
    ),
    Case("pages", "two", lambda plan: with_region(plan, "client_net_rings", size=0x8800)),
    Case("physical-alignment", "two", lambda plan: with_region(plan, "client_ram", phys_addr=0x9800_1000)),
    Case("guest-ram-fits", "two", lambda _: plan_of(with_memory("640 MiB", "512 MiB"))),
    Case("guest-ram-on-board", "two", lambda plan: with_region(plan, "client_ram", phys_addr=0xC000_0000)),
    Case("reserved-memory", "small", lambda plan: with_region(plan, "client1_ram", phys_addr=0x6000_0000)),
    Case("physical-overlap", "two", lambda plan: with_region(plan, "client_ram", phys_addr=0x7820_0000)),
    Case("ram-budget", "two", lambda _: plan_of(with_queues(many(10), depth=1024, buffer=128 << 10))),
    Case("loader-image", "small", lambda _: plan_of(many(2), sizes={"images/Image": 120 << 20})),
    Case("map-alignment", "two", lambda plan: with_map(plan, "vmm_client", "client_net_rings", vaddr=0x1_0000_0800)),
    Case("map-overlap", "two", lambda plan: with_map(plan, "vmm_client", "client_console", vaddr=0x1_0000_4000)),
    Case("map-bounds", "two", lambda plan: with_map(plan, "vmm_client", "client_console", vaddr=0x20_0000)),
    Case("permissions", "two", lambda plan: with_map(plan, "console", "client_console", perms="w")),
    Case("write-xor-execute", "two", lambda plan: with_map(plan, "console", "client_console", perms="rwx")),
    Case("guests-share-nothing", "two", lambda plan: add_vm_map(plan, "client", "server_ram", "r")),
    Case("guest-ram-private", "two", lambda plan: add_map(plan, "console", "client_ram", "r")),
    Case("queues-between-two", "two", lambda plan: add_map(plan, "timer", "client_console", "r")),
    Case("queues-of-own-guest", "two", swapped_consoles),
    Case("counters-to-console", "two", lambda plan: add_map(plan, "vmm_client", "switch_counters", "r")),
    Case("frames-one-writer", "two", lambda plan: with_map(plan, "vswitch", "client_net_frames", perms="rw")),
    Case("frames-need-to-know", "three", lambda plan: add_map(plan, "vmm_client1", "client2_net_frames", "r")),
    Case("payloads-read-only", "two", lambda plan: with_map(plan, "vmm_client", "Image", perms="rw")),
    Case("payloads-filled", "old", lambda plan: with_pd(plan, "images", priority=0)),
    Case("switch-has-no-guest-memory", "two", lambda plan: add_map(plan, "vswitch", "Image", "r")),
    Case("devices-one-owner", "two", lambda plan: add_map(plan, "console", "server_pcie_3eff0000", "rw", cached=False)),
    Case(
        "vmms-touch-no-device",
        "two",
        lambda plan: add_map(plan, "vmm_server", "server_pcie_3eff0000", "rw", cached=False),
    ),
    Case("devices-fixed", "two", lambda plan: with_region(plan, "server_pcie_3eff0000", phys_addr=None)),
    Case(
        "devices-not-memory",
        "small",
        lambda plan: own(plan, "server", DeviceRegion("sram", Range(0x6100_0000, 0x1000), "sram")),
    ),
    Case(
        "kernel-devices",
        "two",
        lambda plan: own(plan, "server", DeviceRegion("gic", Range(0x0800_0000, 0x1000), "gic")),
    ),
    Case("devices-uncached", "two", lambda plan: with_vm_map(plan, "server", "server_pcie_3eff0000", cached=True)),
    Case("irqs-one-owner", "two", lambda plan: with_pd(plan, "vmm_client", irqs=(Irq(35, 8),))),
    Case("irqs-in-range", "two", lambda plan: with_pd(plan, "vmm_client", irqs=(Irq(300, 8), Irq(27, 9)))),
    Case(
        "passthrough-complete",
        "two",
        lambda plan: with_pd(plan, "vmm_server", irqs=pd_of(plan, "vmm_server").irqs[:-1]),
    ),
    Case("drivers-served", "two", lambda plan: with_pd(plan, "console", irqs=())),
    Case("dma-identity", "small", lambda plan: with_region(plan, "server_ram", phys_addr=0x9000_0000)),
    Case(
        "restart-is-clean",
        "two",
        lambda plan: with_guest(
            plan, "server", passthrough=replace(plan.guest("server").passthrough, unstoppable=("usb@38100000",))
        ),
    ),
    Case("dma-is-said", "two", lambda plan: plan.but(notes=())),
    Case("names-unique", "two", lambda plan: with_pd(plan, "timer", program="console.elf")),
    Case("names-legal", "old", lambda plan: with_pd(plan, "images", name="monitor")),
    Case("pd-count", "two", lambda plan: reduce(with_spare, (f"spare{n}" for n in range(57)), plan)),
    Case("line-ports", "two", lambda _: plan_of(many(31, memory="2 MiB"))),
    Case("channel-ends", "two", lambda plan: with_channel(plan, "console of client", b={"pd": "nobody"})),
    Case("ids-in-range", "two", lambda plan: with_channel(plan, "console of client", b={"id": 62})),
    Case("ids-unique", "two", lambda plan: with_channel(plan, "console of client", a={"id": 0})),
    Case(
        "vmms-apart",
        "two",
        lambda plan: plan.but(
            channels=(*plan.channels, Channel(End("vmm_server", 50), End("vmm_client", 50), "gossip"))
        ),
    ),
    Case("priority-range", "two", lambda plan: with_vm(plan, "client", priority=300)),
    Case("calls-upwards", "two", lambda plan: with_channel(plan, "frames of client", b={"pp": True})),
    Case("priority-order", "two", lambda plan: with_vm(plan, "client", priority=210)),
    Case("budgets", "two", lambda plan: with_vm(plan, "client", period=500)),
    Case("stacks", "two", lambda plan: with_pd(plan, "timer", stack_size=0x800)),
    Case("guests-numbered", "two", lambda plan: with_guest(plan, "client", index=5)),
    Case("one-vmm-per-guest", "two", lambda plan: with_vm(plan, "client", vcpus=(VirtualCpu(0), VirtualCpu(1)))),
    Case("ram-where-planned", "two", lambda plan: with_vm_map(plan, "client", "client_ram", vaddr=0x4000_0000)),
    Case("guest-map", "two", lambda plan: own(plan, "server", DeviceRegion("rtc", Range(0x0A00_0000, 0x1000), "rtc"))),
    Case("trapped-pages", "two", lambda plan: with_vm_map(plan, "server", "gic_vcpu", vaddr=0x0A00_0000)),
    Case("guest-interrupts", "two", lambda plan: own_irq(plan, "server", 48)),
    Case(
        "smc-filter",
        "two",
        lambda plan: with_guest(with_pd(plan, "vmm_client", smc=True), "client", smc=(0x8400_0008,)),
    ),
    Case(
        "port-per-guest",
        "two",
        lambda plan: with_vswitch(
            plan, ports=(plan.vswitch.ports[0], replace(plan.vswitch.ports[1], mac="02:00:00:00:00:09"))
        ),
    ),
    Case("mac-unique", "two", lambda plan: with_address(plan, "client", mac=plan.guest("server").mac)),
    Case("address-unique", "two", lambda plan: with_address(plan, "client", address=plan.guest("server").address)),
    Case("one-way-to-others", "vsock", lambda plan: with_address(plan, "client1", cid=3)),
    Case("address-in-subnet", "two", lambda plan: with_address(plan, "client", address=IPv4Address("10.77.0.255"))),
    Case(
        "rules-between-ports",
        "two",
        lambda plan: with_vswitch(plan, rules=(*plan.vswitch.rules, VSwitchRule(1, 9, "tcp", 80))),
    ),
    Case("queue-shape", "two", lambda plan: with_vswitch(plan, depth=100)),
    Case("mtu-fits-buffer", "two", lambda plan: with_vswitch(plan, mtu=9000)),
    Case("frames-pool", "two", lambda plan: with_region(plan, "client_net_frames", size=0x2_0000, page_size=0x1000)),
    Case("grants-between-guests", "two", lambda plan: plan.but(grants=(Grant("client", "client", vendor=1),))),
    Case(
        "usb-ports", "two", lambda plan: plan.but(grants=(*plan.grants, Grant("server", "client", path="1-1", port=9)))
    ),
    Case("disks-have-one-reader", "three", disks_open_to_another),
    Case("grants-have-a-way", "two", lambda plan: with_vswitch(plan, rules=plan.vswitch.rules[1:])),
)
