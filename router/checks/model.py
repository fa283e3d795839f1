# SPDX-License-Identifier: BSD-2-Clause
"""What an invariant is, how one registers, and the view of a plan that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from router.boards.model import Range
from router.plan.models import GuestPlan, Map, MemoryRegion, ProtectionDomain, RegionKind, SystemPlan, VirtualMachine

Subject = tuple[str | int, ...]
"""Path into the description, such as ("guests", "client", "memory")."""


@dataclass(frozen=True)
class Problem:
    """What an invariant's function yields: the message names both colliding things, with their ranges."""

    message: str
    subject: Subject | None = None
    hint: str | None = None


@dataclass(frozen=True)
class Violation:
    """An invariant that a plan breaks."""

    invariant: str
    message: str
    subject: Subject | None = None
    """Where in the description the cause is; None when no single place is."""
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.invariant}: {self.message}"


Check = Callable[["View"], Iterable[Problem]]


@dataclass(frozen=True)
class Invariant:
    """One promise about every plan."""

    name: str
    promise: str
    check: Check
    after: tuple[str, ...]
    """Invariants whose violation makes this one's a mere consequence: it is only looked at when they hold."""


REGISTRY: dict[str, Invariant] = {}


def invariant(name: str, promise: str, *, after: tuple[str, ...] = ()) -> Callable[[Check], Check]:
    """Register the decorated function as the invariant of that name; the order of registration is that of checking."""

    def register(check: Check) -> Check:
        if name in REGISTRY:
            raise ValueError(f"two invariants are named {name}")
        REGISTRY[name] = Invariant(name, promise, check, after)
        return check

    return register


@dataclass(frozen=True)
class Space:
    """One address space: that of a protection domain, or of a virtual machine."""

    name: str
    maps: tuple[Map, ...]
    pd: ProtectionDomain
    vm: VirtualMachine | None = None
    """Set when the space is the virtual machine's, not its VMM's."""

    def __str__(self) -> str:
        return f"virtual machine '{self.name}'" if self.vm else f"protection domain '{self.name}'"


class View:
    """A plan with the look-ups that the invariants need, each made once."""

    def __init__(self, plan: SystemPlan) -> None:
        self.plan = plan

    @cached_property
    def regions(self) -> dict[str, MemoryRegion]:
        """By name; of two with the same name the first."""
        found: dict[str, MemoryRegion] = {}
        for region in self.plan.regions:
            found.setdefault(region.name, region)
        return found

    @cached_property
    def guests(self) -> dict[str, GuestPlan]:
        return {guest.name: guest for guest in self.plan.guests}

    @cached_property
    def pds(self) -> dict[str, ProtectionDomain]:
        return {pd.name: pd for pd in self.plan.pds}

    @cached_property
    def spaces(self) -> tuple[Space, ...]:
        found: list[Space] = []
        for pd in self.plan.pds:
            found.append(Space(pd.name, pd.maps, pd))
            if pd.vm is not None:
                found.append(Space(pd.vm.name, pd.vm.maps, pd, pd.vm))
        return tuple(found)

    @cached_property
    def mapped(self) -> dict[str, list[tuple[Space, Map]]]:
        """Who maps each region, by its name."""
        found: dict[str, list[tuple[Space, Map]]] = {}
        for space in self.spaces:
            for each in space.maps:
                found.setdefault(each.region, []).append((space, each))
        return found

    @cached_property
    def shared_by_vms(self) -> frozenset[str]:
        """Regions that every virtual machine may have: the GIC's frame, whose content the hardware switches with it."""
        frame = self.plan.board.gic.vcpu_interface
        if frame is None:
            return frozenset()
        return frozenset(
            region.name
            for region in self.plan.regions
            if region.physical is not None and frame.contains(region.physical)
        )

    def of_kind(self, *kinds: RegionKind) -> Iterator[MemoryRegion]:
        return (region for region in self.plan.regions if region.kind in kinds)

    def vmm_of(self, guest: str) -> ProtectionDomain | None:
        """The protection domain that has the guest's virtual machine."""
        return next((pd for pd in self.plan.pds if pd.vm is not None and pd.vm.name == guest), None)

    def map_range(self, each: Map) -> Range | None:
        """The virtual addresses of a map; None when its region does not exist."""
        region = self.regions.get(each.region)
        return None if region is None else Range(each.vaddr, region.size)


def writes(each: Map) -> bool:
    return "w" in each.perms


def overlapping(ranges: Iterable[tuple[Range, str]]) -> Iterator[tuple[tuple[Range, str], tuple[Range, str]]]:
    """Pairs of labelled ranges that overlap, the lower one first; each range at most once as the second of a pair."""
    reach: tuple[Range, str] | None = None
    for each in sorted(ranges, key=lambda item: (item[0].start, item[0].end, item[1])):
        if reach is not None and reach[0].overlaps(each[0]):
            yield reach, each
        if reach is None or each[0].end > reach[0].end:
            reach = each


def guest_path(owner: str | None, *rest: str | int) -> Subject | None:
    """Path to a guest's entry in the description; None for what belongs to no guest."""
    return None if owner is None else ("guests", owner, *rest)


def region_subject(region: MemoryRegion) -> Subject | None:
    """The field of the description that a region comes from."""
    field = {RegionKind.GUEST_RAM: "memory", RegionKind.DEVICE: "passthrough"}.get(region.kind)
    return guest_path(region.owner, *([field] if field else []))
