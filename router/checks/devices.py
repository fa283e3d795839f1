# SPDX-License-Identifier: BSD-2-Clause
"""The board's devices and interrupts: each has one owner, and none is the kernel's."""

from __future__ import annotations

from collections.abc import Iterator

from router.boards.model import Board, Range
from router.checks.model import Problem, Space, View, guest_path, invariant, region_subject
from router.plan import names
from router.plan.models import RegionKind


def kernel_registers(board: Board) -> list[tuple[str, Range]]:
    """The interrupt controller's registers, which the kernel alone drives."""
    gic = board.gic
    parts = [("the GIC's distributor", gic.distributor)]
    redistributors = gic.redistributors(board.cores)
    if redistributors is not None:
        parts.append(("the GIC's redistributors", redistributors))
    if gic.version == 2 and gic.cpu_interface is not None:
        parts.append(("the GIC's CPU interface", gic.cpu_interface))
    return parts


def owner_text(space: Space) -> str:
    """Who a device belongs to, in the words of the description."""
    return f"the guest '{space.pd.vm.name}'" if space.pd.vm is not None else f"our own domain '{space.name}'"


@invariant(
    "devices-one-owner",
    "each device's registers are mapped by one guest or by one driver",
    after=("guests-share-nothing",),
)
def devices_one_owner(view: View) -> Iterator[Problem]:
    for region in view.of_kind(RegionKind.DEVICE):
        owners = dict.fromkeys(owner_text(space) for space, _ in view.mapped.get(region.name, []))
        if len(owners) > 1 and region.name not in view.shared_by_vms:
            who = " and ".join(owners)
            yield Problem(f"'{region.name}' {region.physical} is given to {who}", region_subject(region))


@invariant("vmms-touch-no-device", "a VMM maps no device, but for its guest's PCI configuration spaces")
def vmms_touch_no_device(view: View) -> Iterator[Problem]:
    stops = {(guest.name, space) for guest in view.plan.guests for space in guest.passthrough.config_spaces}
    for region in view.of_kind(RegionKind.DEVICE):
        for space, each in view.mapped.get(region.name, []):
            vm = space.pd.vm
            if space.vm is None and vm is not None and (vm.name, region.physical) not in stops:
                yield Problem(f"{space} maps the device '{region.name}' ({each.perms})", region_subject(region))


@invariant("devices-fixed", "every device region says where its registers are")
def devices_fixed(view: View) -> Iterator[Problem]:
    for region in view.of_kind(RegionKind.DEVICE):
        if region.phys_addr is None:
            yield Problem(f"the device region '{region.name}' has no physical address", region_subject(region))


@invariant("devices-not-memory", "no device region lies in the board's RAM")
def devices_not_memory(view: View) -> Iterator[Problem]:
    ram = view.plan.board.ram
    for region in view.of_kind(RegionKind.DEVICE):
        if region.physical is not None and region.physical.overlaps(ram):
            yield Problem(
                f"the device region '{region.name}' {region.physical} lies in the board's RAM {ram}",
                region_subject(region),
            )


@invariant("kernel-devices", "the interrupt controller is mapped by no domain: it belongs to the kernel")
def kernel_devices(view: View) -> Iterator[Problem]:
    for region in view.of_kind(RegionKind.DEVICE):
        for what, place in kernel_registers(view.plan.board):
            if region.physical is not None and region.physical.overlaps(place):
                yield Problem(
                    f"'{region.name}' {region.physical} overlaps {what} {place}, which the kernel drives",
                    region_subject(region),
                    "a guest gets an emulated interrupt controller: leave the GIC out of 'passthrough'",
                )


@invariant("devices-uncached", "device registers are mapped uncached, and only they are")
def devices_uncached(view: View) -> Iterator[Problem]:
    for space in view.spaces:
        for each in space.maps:
            region = view.regions.get(each.region)
            if region is None:
                continue
            if region.kind is RegionKind.DEVICE and each.cached:
                yield Problem(f"{space} maps the device '{region.name}' cached")
            elif region.kind is not RegionKind.DEVICE and not each.cached:
                yield Problem(f"{space} maps '{region.name}', which is {region.kind.value}, uncached")


@invariant("irqs-one-owner", "each interrupt is given to one protection domain")
def irqs_one_owner(view: View) -> Iterator[Problem]:
    first: dict[int, Space] = {}
    for space in view.spaces:
        for irq in space.pd.irqs if space.vm is None else ():
            if irq.number in first:
                owners = [owner_text(each) for each in (first[irq.number], space)]
                subject = guest_path(space.pd.vm.name, "passthrough") if space.pd.vm is not None else None
                yield Problem(f"interrupt {irq.number} is given to {' and to '.join(owners)}", subject)
            first.setdefault(irq.number, space)


@invariant("irqs-in-range", "interrupts are peripherals' ones that the kernel's build for the board knows")
def irqs_in_range(view: View) -> Iterator[Problem]:
    board = view.plan.board
    last = board.max_irq
    for pd in view.plan.pds:
        for irq in pd.irqs:
            subject = guest_path(pd.vm.name, "passthrough") if pd.vm is not None else None
            if not 16 <= irq.number <= last:
                yield Problem(f"'{pd.name}' has interrupt {irq.number}; on this board there are 16 to {last}", subject)
            elif irq.number in board.kernel_irqs:
                yield Problem(
                    f"'{pd.name}' has interrupt {irq.number}, which is {board.kernel_irqs[irq.number]}", subject
                )


@invariant(
    "passthrough-complete",
    "a guest gets all that it owns: registers at their own addresses, and interrupts",
    after=(
        "guests-share-nothing",
        "devices-fixed",
    ),
)
def passthrough_complete(view: View) -> Iterator[Problem]:
    for guest in view.plan.guests:
        pd = view.vmm_of(guest.name)
        if pd is None or pd.vm is None:
            continue
        subject = guest_path(guest.name, "passthrough")
        maps = [(each, view.regions[each.region]) for each in pd.vm.maps if each.region in view.regions]
        for owned in guest.passthrough.regions:
            if not any(
                region.physical == owned.range and each.vaddr == owned.range.start and "w" in each.perms
                for each, region in maps
            ):
                yield Problem(
                    f"'{guest.name}' owns '{owned.name}' {owned.range}, and no map of it has it there", subject
                )
        missing = {irq.number for irq in guest.passthrough.irqs} - {irq.number for irq in pd.irqs}
        for number in sorted(missing):
            yield Problem(f"'{guest.name}' owns interrupt {number}, and '{pd.name}' does not get it", subject)
        for _, region in maps:
            owned_here = any(region.physical == owned.range for owned in guest.passthrough.regions)
            if region.kind is RegionKind.DEVICE and region.name not in view.shared_by_vms and not owned_here:
                yield Problem(
                    f"'{guest.name}' maps the device '{region.name}' {region.physical} and does not own it", subject
                )


@invariant(
    "drivers-served", "each of our own drivers has its device's registers and interrupt", after=("devices-fixed",)
)
def drivers_served(view: View) -> Iterator[Problem]:
    board = view.plan.board
    # A system without guests is a board's first steps: it has the console's stand-in, and may do without the timer.
    serial = names.CONSOLE if view.plan.guests else names.BRINGUP
    timers = [(names.TIMER, board.timer)] if view.plan.guests or names.TIMER in view.pds else []
    for name, device in ((serial, board.uart), *timers):
        pd = view.pds.get(name)
        if pd is None:
            yield Problem(f"no protection domain '{name}' drives the {device.kind}")
            continue
        if device.irq not in [irq.number for irq in pd.irqs]:
            yield Problem(f"'{name}' does not get interrupt {device.irq} of the {device.kind}")
        mapped = [view.regions[each.region].physical for each in pd.maps if each.region in view.regions]
        if device.registers is not None and device.registers not in mapped:
            yield Problem(f"'{name}' does not map the {device.kind} {device.registers}")


@invariant("dma-identity", "RAM of a guest whose devices can write memory lies at the same guest and physical address")
def dma_identity(view: View) -> Iterator[Problem]:
    for guest in view.plan.guests:
        if not guest.passthrough.dma or view.plan.board.smmu:
            continue
        for region in view.of_kind(RegionKind.GUEST_RAM):
            if region.owner != guest.name:
                continue
            for space, each in view.mapped.get(region.name, []):
                if space.name == guest.name and space.vm is not None and each.vaddr != region.phys_addr:
                    where = "anywhere" if region.phys_addr is None else f"at {region.phys_addr:#x}"
                    yield Problem(
                        f"devices of '{guest.name}' can write memory by themselves, and its RAM is {where} in the"
                        f" machine but at {each.vaddr:#x} in the guest",
                        guest_path(guest.name, "passthrough"),
                        "without an IOMMU a device uses the machine's addresses: map the RAM at the same ones",
                    )


@invariant("restart-is-clean", "a guest that is restarted owns no device whose DMA cannot be stopped")
def restart_is_clean(view: View) -> Iterator[Problem]:
    for guest in view.plan.guests:
        if guest.on_exit == "restart" and guest.passthrough.unstoppable:
            names = ", ".join(guest.passthrough.unstoppable)
            yield Problem(
                f"'{guest.name}' is to be restarted after a crash, but its VMM cannot stop the DMA of {names}"
                " into its memory while it is reloaded",
                guest_path(guest.name, "on_exit"),
                "write 'on_exit: stop', or leave it out",
            )


@invariant("dma-is-said", "the plan's notes name every guest that can reach all memory by DMA")
def dma_is_said(view: View) -> Iterator[Problem]:
    for guest in view.plan.guests:
        said = any(f"'{guest.name}'" in note and "DMA" in note for note in view.plan.notes)
        if guest.passthrough.dma and not view.plan.board.smmu and not said:
            yield Problem(
                f"'{guest.name}' can reach all memory by DMA on this board, and no note says so", guest_path(guest.name)
            )
