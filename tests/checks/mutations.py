# SPDX-License-Identifier: BSD-2-Clause
"""Ways to break one thing of a plan and leave the rest as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from router.plan.models import (
    DeviceIrq,
    DeviceRegion,
    Irq,
    Map,
    MemoryRegion,
    ProtectionDomain,
    RegionKind,
    SystemPlan,
    VirtualMachine,
)

UNUSED = 0x30_0000_0000
"""A virtual address that no planned map is near."""


def with_region(plan: SystemPlan, name: str, /, **changes: Any) -> SystemPlan:
    return plan.but(regions=tuple(replace(each, **changes) if each.name == name else each for each in plan.regions))


def with_pd(plan: SystemPlan, name: str, /, **changes: Any) -> SystemPlan:
    return plan.but(pds=tuple(replace(each, **changes) if each.name == name else each for each in plan.pds))


def with_spare(plan: SystemPlan, name: str = "spare") -> SystemPlan:
    """One more protection domain, which does nothing."""
    return plan.but(pds=(*plan.pds, ProtectionDomain(name, f"{name}.elf", 1)))


def pd_of(plan: SystemPlan, name: str) -> ProtectionDomain:
    return next(each for each in plan.pds if each.name == name)


def vm_of(plan: SystemPlan, guest: str) -> VirtualMachine:
    vm = pd_of(plan, f"vmm_{guest}").vm
    assert vm is not None
    return vm


def with_vm(plan: SystemPlan, guest: str, /, **changes: Any) -> SystemPlan:
    return with_pd(plan, f"vmm_{guest}", vm=replace(vm_of(plan, guest), **changes))


def changed(maps: tuple[Map, ...], region: str, /, **changes: Any) -> tuple[Map, ...]:
    assert region in [each.region for each in maps]
    return tuple(replace(each, **changes) if each.region == region else each for each in maps)


def with_map(plan: SystemPlan, pd: str, region: str, /, **changes: Any) -> SystemPlan:
    return with_pd(plan, pd, maps=changed(pd_of(plan, pd).maps, region, **changes))


def with_vm_map(plan: SystemPlan, guest: str, region: str, /, **changes: Any) -> SystemPlan:
    return with_vm(plan, guest, maps=changed(vm_of(plan, guest).maps, region, **changes))


def add_map(plan: SystemPlan, pd: str, region: str, perms: str, vaddr: int = UNUSED, cached: bool = True) -> SystemPlan:
    return with_pd(plan, pd, maps=(*pd_of(plan, pd).maps, Map(region, vaddr, perms, cached)))


def add_vm_map(
    plan: SystemPlan, guest: str, region: str, perms: str, vaddr: int = UNUSED, cached: bool = True
) -> SystemPlan:
    return with_vm(plan, guest, maps=(*vm_of(plan, guest).maps, Map(region, vaddr, perms, cached)))


def with_guest(plan: SystemPlan, name: str, /, **changes: Any) -> SystemPlan:
    return plan.but(guests=tuple(replace(each, **changes) if each.name == name else each for each in plan.guests))


def with_vswitch(plan: SystemPlan, **changes: Any) -> SystemPlan:
    return plan.but(vswitch=replace(plan.vswitch, **changes))


def with_address(plan: SystemPlan, guest: str, /, **changes: Any) -> SystemPlan:
    """The same MAC or IPv4 address for a guest and its port."""
    ports = tuple(replace(each, **changes) if each.guest == guest else each for each in plan.vswitch.ports)
    return with_guest(with_vswitch(plan, ports=ports), guest, **changes)


def with_channel(
    plan: SystemPlan, why: str, a: dict[str, Any] | None = None, b: dict[str, Any] | None = None
) -> SystemPlan:
    """Changes to either end of the channel that is for `why`."""
    assert why in [each.why for each in plan.channels]
    return plan.but(
        channels=tuple(
            replace(each, a=replace(each.a, **(a or {})), b=replace(each.b, **(b or {}))) if each.why == why else each
            for each in plan.channels
        )
    )


def own(plan: SystemPlan, guest: str, region: DeviceRegion) -> SystemPlan:
    """One more device for a guest, mapped as it should be."""
    owned = plan.guest(guest).passthrough
    name = f"{guest}_{region.name}"
    plan = plan.but(
        regions=(
            *plan.regions,
            MemoryRegion(name, region.range.size, RegionKind.DEVICE, phys_addr=region.range.start, owner=guest),
        )
    )
    plan = with_guest(plan, guest, passthrough=replace(owned, regions=(*owned.regions, region)))
    return add_vm_map(plan, guest, name, "rw", region.range.start, cached=False)


def own_irq(plan: SystemPlan, guest: str, number: int) -> SystemPlan:
    """One more interrupt for a guest, which its VMM gets."""
    owned, pd = plan.guest(guest).passthrough, pd_of(plan, f"vmm_{guest}")
    plan = with_guest(
        plan, guest, passthrough=replace(owned, irqs=(*owned.irqs, DeviceIrq(number, False, "/one-more")))
    )
    return with_pd(plan, f"vmm_{guest}", irqs=(*pd.irqs, Irq(number, 60)))
