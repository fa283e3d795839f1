# SPDX-License-Identifier: BSD-2-Clause
"""Inside one guest: what it sees at which address and on which interrupt, and that the VMM backs it."""

from __future__ import annotations

from collections.abc import Iterator

from router.boards.model import Range
from router.checks.model import Problem, View, guest_path, invariant, overlapping
from router.plan.models import PAGE, GuestPlan, SystemPlan

TIMER_IRQS = {30: "the physical timer", 29: "the secure timer", 27: "the virtual timer", 26: "the hypervisor timer"}
"""Private interrupts in every guest's device tree."""
LAST_SPI = 1019
"""Largest interrupt of a shared peripheral (GIC architecture specification)."""
PSCI = (range(0x8400_0000, 0x8400_0020), range(0xC400_0000, 0xC400_0020))
"""Function identifiers of Arm's Power State Coordination Interface (Arm DEN 0022), by which cores are switched."""
MAX_VCPUS = 4


@invariant("guests-numbered", "guests are numbered from 0 in the order of the description")
def guests_numbered(view: View) -> Iterator[Problem]:
    for place, guest in enumerate(view.plan.guests):
        if guest.index != place:
            yield Problem(
                f"the guest '{guest.name}' has the number {guest.index} and stands at place {place}",
                guest_path(guest.name),
            )


@invariant("one-vmm-per-guest", "each guest is one virtual machine, with its vCPUs, in a VMM of its own")
def one_vmm_per_guest(view: View) -> Iterator[Problem]:
    machines = {pd.vm.name: pd for pd in view.plan.pds if pd.vm is not None}
    for guest in view.plan.guests:
        pd = machines.pop(guest.name, None)
        if pd is None or pd.vm is None:
            yield Problem(f"no protection domain runs the guest '{guest.name}'", guest_path(guest.name))
        elif len(pd.vm.vcpus) != guest.vcpus or not 1 <= guest.vcpus <= MAX_VCPUS:
            yield Problem(
                f"the guest '{guest.name}' is to have {guest.vcpus} vCPUs (1 to {MAX_VCPUS}), and '{pd.name}' gives it"
                f" {len(pd.vm.vcpus)}",
                guest_path(guest.name, "vcpus"),
            )
    for name, pd in machines.items():
        yield Problem(f"'{pd.name}' runs the virtual machine '{name}', which is not a guest")


@invariant("ram-where-planned", "each guest's RAM is mapped in full and executable at the address in its device tree")
def ram_where_planned(view: View) -> Iterator[Problem]:
    for guest in view.plan.guests:
        pd = view.vmm_of(guest.name)
        if pd is None or pd.vm is None:
            continue
        for space, maps, perms in (("the virtual machine", pd.vm.maps, "rwx"), (f"'{pd.name}'", pd.maps, "rw")):
            mapped = [view.map_range(each) for each in maps if each.perms == perms]
            if guest.ram not in mapped:
                yield Problem(
                    f"the guest '{guest.name}' has RAM at {guest.ram}, and {space} maps none there ({perms})",
                    guest_path(guest.name, "memory"),
                )


def guest_map(plan: SystemPlan, guest: GuestPlan) -> list[tuple[Range, str]]:
    """All that a guest sees in its physical address space, each with a name for it."""
    gic = plan.board.gic
    seen = [
        (guest.ram, "its RAM"),
        (gic.distributor, "the GIC's distributor"),
        (plan.board.early_console, "the early console"),
    ]
    if gic.cpu_interface is not None:
        seen.append((gic.cpu_interface, "the GIC's CPU interface"))
    redistributors = gic.redistributors(guest.vcpus)
    if redistributors is not None:
        seen.append((redistributors, "the GIC's redistributors"))
    seen += [(Range(device.address, device.size), f"virtio device '{device.name}'") for device in guest.virtio]
    seen += [(owned.range, f"device '{owned.name}'") for owned in guest.passthrough.regions]
    return seen


@invariant(
    "guest-map",
    "RAM, virtio devices, interrupt controller and devices do not overlap in a guest's address space",
    after=("kernel-devices",),
)
def guest_map_overlap(view: View) -> Iterator[Problem]:
    for guest in view.plan.guests:
        for (first, one), (second, other) in overlapping(guest_map(view.plan, guest)):
            yield Problem(
                f"in the guest '{guest.name}' {one} {first} and {other} {second} overlap",
                guest_path(guest.name, "passthrough"),
            )


@invariant(
    "trapped-pages",
    "no map of a guest covers what its VMM emulates",
    after=(
        "kernel-devices",
        "guest-map",
    ),
)
def trapped_pages(view: View) -> Iterator[Problem]:
    for guest in view.plan.guests:
        pd = view.vmm_of(guest.name)
        gic = view.plan.board.gic
        emulated = [(gic.distributor, "the GIC's distributor"), (view.plan.board.early_console, "the early console")]
        emulated += [(Range(each.address, each.size), f"virtio device '{each.name}'") for each in guest.virtio]
        redistributors = gic.redistributors(guest.vcpus)
        if redistributors is not None:
            emulated.append((redistributors, "the GIC's redistributors"))
        for each in pd.vm.maps if pd is not None and pd.vm is not None else ():
            place = view.map_range(each)
            for trapped, what in emulated:
                page = Range(
                    trapped.start // PAGE * PAGE, PAGE * -(-trapped.end // PAGE) - trapped.start // PAGE * PAGE
                )
                if place is not None and place.overlaps(page):
                    yield Problem(
                        f"the guest '{guest.name}' has '{each.region}' {place} mapped over {what} {trapped}: its"
                        " accesses would not reach the VMM"
                    )
                    break


@invariant("guest-interrupts", "no two devices of a guest have the same guest interrupt")
def guest_interrupts(view: View) -> Iterator[Problem]:
    for guest in view.plan.guests:
        first = dict(TIMER_IRQS)
        seen = [(device.irq, f"virtio device '{device.name}'") for device in guest.virtio]
        seen += [(irq.number, irq.node or "a device that it owns") for irq in guest.passthrough.irqs]
        for number, what in seen:
            if number in first:
                yield Problem(
                    f"in the guest '{guest.name}' interrupt {number} belongs to {first[number]} and to {what}",
                    guest_path(guest.name, "passthrough"),
                )
            elif not 32 <= number <= LAST_SPI:
                yield Problem(f"in the guest '{guest.name}' {what} has interrupt {number}; there are 32 to {LAST_SPI}")
            first.setdefault(number, what)


@invariant("smc-filter", "SMC calls are 32-bit function identifiers, only for guests that ask, and never PSCI's")
def smc_filter(view: View) -> Iterator[Problem]:
    for guest in view.plan.guests:
        for place, number in enumerate(guest.smc):
            subject = guest_path(guest.name, "smc", place)
            if not 0 <= number < 1 << 32:
                yield Problem(
                    f"'{guest.name}' may make the SMC call {number:#x}, and function identifiers have 32 bits", subject
                )
            elif any(number in functions for functions in PSCI):
                yield Problem(
                    f"'{guest.name}' may make the SMC call {number:#x}, by which the firmware stops the board",
                    subject,
                    "leave PSCI out: the VMM answers it for the guest alone",
                )
        pd = view.vmm_of(guest.name)
        if pd is not None and pd.smc != bool(guest.smc):
            yield Problem(
                f"'{pd.name}' {'may' if pd.smc else 'may not'} make SMC calls, and '{guest.name}' asks for"
                f" {len(guest.smc)}",
                guest_path(guest.name, "smc"),
            )
    for pd in view.plan.pds:
        if pd.vm is None and pd.smc:
            yield Problem(f"'{pd.name}' may make SMC calls, and it has no guest")
