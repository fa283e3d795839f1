# SPDX-License-Identifier: BSD-2-Clause
"""What a system says about itself, in the terms of the system description file: from its text, or from the plan."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from router.errors import HostError
from router.plan.models import (
    PAGE,
    Channel,
    End,
    Irq,
    Map,
    MemoryRegion,
    ProtectionDomain,
    RegionKind,
    SystemPlan,
    VirtualCpu,
    VirtualMachine,
)

KNOWN = {
    "system": {"memory_region", "protection_domain", "channel"},
    "memory_region": set[str](),
    "protection_domain": {"program_image", "map", "irq", "virtual_machine"},
    "program_image": set[str](),
    "map": set[str](),
    "irq": set[str](),
    "virtual_machine": {"vcpu", "map"},
    "vcpu": set[str](),
    "channel": {"end"},
    "end": set[str](),
}
"""Elements of a system description file with their children, as far as a plan uses them."""
KNOWN_ATTRIBUTES = {
    "system": set[str](),
    "memory_region": {"name", "size", "page_size", "phys_addr", "prefill_path"},
    "protection_domain": {"name", "priority", "stack_size", "budget", "period", "smc", "cpu"},
    "program_image": {"path"},
    "map": {"mr", "vaddr", "perms", "cached"},
    "irq": {"irq", "id", "trigger"},
    "virtual_machine": {"name", "priority", "budget", "period"},
    "vcpu": {"id", "cpu"},
    "channel": set[str](),
    "end": {"pd", "id", "pp", "notify"},
}


@dataclass(frozen=True)
class Declared:
    """Regions, domains and channels of a system."""

    regions: tuple[MemoryRegion, ...]
    """Sizes are whole pages; of regions that are filled from a file, as many as the file needs."""
    pds: tuple[ProtectionDomain, ...]
    channels: tuple[Channel, ...]

    def region(self, name: str) -> MemoryRegion | None:
        """The region of that name."""
        return next((each for each in self.regions if each.name == name), None)


def of_plan(plan: SystemPlan) -> Declared:
    """What the plan says; the sizes of its payloads must be those of the files that exist."""
    return Declared(plan.regions, plan.pds, plan.channels)


def of_text(text: str, file_size: Callable[[str], int]) -> Declared:
    """What a `.system` text says, with the defaults of the manual of SDK 2.3.0.

    file_size: bytes of a file by the path that `prefill_path` gives. HostError for a text that is no system
    description, and for elements and attributes that may give rights and that are not known here.
    """
    try:
        system = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise HostError(f"this is no system description file: {error}") from error
    for element in system.iter():
        odd = {child.tag for child in element} - KNOWN.get(element.tag, set())
        odd |= set(element.attrib) - KNOWN_ATTRIBUTES.get(element.tag, set())
        if element.tag not in KNOWN or odd:
            said = ", ".join(sorted(odd)) or "no rule"
            raise HostError(f"the isolation of this system cannot be judged: '{element.tag}' has {said}")
    try:
        return Declared(
            tuple(region(each, file_size) for each in system.iter("memory_region")),
            tuple(domain(each) for each in system.iter("protection_domain")),
            tuple(channel(each) for each in system.iter("channel")),
        )
    except (KeyError, ValueError) as error:
        raise HostError(f"this is no whole system description file: {error}") from error


def region(element: ElementTree.Element, file_size: Callable[[str], int]) -> MemoryRegion:
    """A `memory_region`; its kind says only whether a file fills it."""
    page, path = int(element.get("page_size", hex(PAGE)), 0), element.get("prefill_path")
    given = element.get("size")
    size = int(given, 0) if given is not None else -(-file_size(path or "") // page) * page
    physical = element.get("phys_addr")
    return MemoryRegion(
        name=element.attrib["name"],
        size=size,
        kind=RegionKind.DEVICE if path is None else RegionKind.PAYLOAD,
        page_size=page,
        phys_addr=None if physical is None else int(physical, 0),
        payload=path,
    )


def maps(elements: Iterable[ElementTree.Element]) -> tuple[Map, ...]:
    """The `map` elements of a domain or a virtual machine: readable and writable, cached, if they say nothing else."""
    return tuple(
        Map(
            each.attrib["mr"],
            int(each.attrib["vaddr"], 0),
            each.get("perms", "rw"),
            each.get("cached", "true") == "true",
        )
        for each in elements
    )


def integer(element: ElementTree.Element, name: str) -> int | None:
    """A decimal attribute, None where it is absent."""
    found = element.get(name)
    return None if found is None else int(found, 0)


def domain(element: ElementTree.Element) -> ProtectionDomain:
    """A `protection_domain`."""
    vm = element.find("virtual_machine")
    image = element.find("program_image")
    return ProtectionDomain(
        name=element.attrib["name"],
        program="" if image is None else image.attrib["path"],
        priority=integer(element, "priority") or 0,
        stack_size=integer(element, "stack_size") or 0x2000,
        maps=maps(element.findall("map")),
        irqs=tuple(
            Irq(int(each.attrib["irq"]), int(each.attrib["id"]), each.get("trigger", "level") == "edge")
            for each in element.findall("irq")
        ),
        vm=None if vm is None else machine(vm),
        smc=element.get("smc", "false") == "true",
        cpu=integer(element, "cpu"),
        budget=integer(element, "budget"),
        period=integer(element, "period"),
    )


def machine(element: ElementTree.Element) -> VirtualMachine:
    """A `virtual_machine`."""
    return VirtualMachine(
        name=element.attrib["name"],
        priority=integer(element, "priority") or 0,
        vcpus=tuple(VirtualCpu(int(each.attrib["id"]), integer(each, "cpu")) for each in element.findall("vcpu")),
        maps=maps(element.findall("map")),
        budget=integer(element, "budget"),
        period=integer(element, "period"),
    )


def channel(element: ElementTree.Element) -> Channel:
    """A `channel`."""
    a, b = (
        End(each.attrib["pd"], int(each.attrib["id"]), each.get("pp") == "true", each.get("notify", "true") == "true")
        for each in element.findall("end")
    )
    return Channel(a, b, "")
