# SPDX-License-Identifier: BSD-2-Clause
"""Who can read, write and execute what: derived from the text that the microkit tool reads, and from nothing else.

Of the plan nothing is believed here: if the renderer wrote a map that the plan does not have, this shows it.
Each protection domain also has its own program, stack and message buffer, which no other domain maps.
`router.report.image` derives the same matrix from the capabilities of the image that boots.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from router.errors import HostError
from router.words import size_text

TEXT = "from the .system text"
"""Where a matrix comes from that this module derives."""
WIDTH = 132
"""Columns of a terminal up to which the matrix is printed as a table."""


@dataclass(frozen=True)
class AddressSpace:
    """Somebody with an address space: a protection domain, or a virtual machine (a guest)."""

    name: str
    guest: bool
    vmm_of: str | None = None
    """Set for a VMM: its guest."""

    @property
    def label(self) -> str:
        return f"guest {self.name}" if self.guest else self.name


@dataclass(frozen=True)
class Access:
    """What one holder may do with a region."""

    holder: AddressSpace
    rights: str
    cached: bool


@dataclass(frozen=True)
class Region:
    """A memory region with everybody who maps it."""

    name: str
    size: int | None
    """Bytes; None where the tool takes the size of the file."""
    physical: int | None
    file: str | None
    access: tuple[Access, ...]

    def rights_of(self, holder: AddressSpace) -> str:
        return next((each.rights for each in self.access if each.holder == holder), "")

    @property
    def device(self) -> bool:
        """Registers: at a fixed address, and mapped uncached."""
        return self.physical is not None and bool(self.access) and not any(each.cached for each in self.access)

    @property
    def place(self) -> str:
        """Size and physical address, for people."""
        size = "file" if self.size is None else size_text(self.size)
        return size if self.physical is None else f"{size} at {self.physical:#x}"


@dataclass(frozen=True)
class Isolation:
    """The access matrix of a system."""

    holders: tuple[AddressSpace, ...]
    regions: tuple[Region, ...]
    source: str = TEXT
    """What it was derived from, for people."""
    powers: tuple[tuple[str, str], ...] = ()
    """What each holder may do apart from memory, where that is known: its label, and words for it."""
    findings: tuple[str, ...] = ()
    """What follows from the powers, a sentence each."""
    capabilities: tuple[tuple[str, str, str], ...] = ()
    """Where they are known, all that is held: who, what, how."""

    @property
    def guests(self) -> tuple[AddressSpace, ...]:
        return tuple(holder for holder in self.holders if holder.guest)

    def shared_by_guests(self) -> tuple[Region, ...]:
        """Regions that several guests map."""
        return tuple(region for region in self.regions if sum(each.holder.guest for each in region.access) > 1)

    def devices_of(self, guest: AddressSpace) -> tuple[Region, ...]:
        """Registers that this guest alone maps."""
        return tuple(
            region for region in self.regions if region.device and [each.holder for each in region.access] == [guest]
        )


def parse_isolation(text: str) -> Isolation:
    """The access matrix of a `.system` text; HostError when it is not a system description."""
    try:
        system = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise HostError(f"not a system description file: {error}") from error
    holders: list[AddressSpace] = []
    access: dict[str, list[Access]] = {}
    for pd in system.iter("protection_domain"):
        vm = pd.find("virtual_machine")
        guest = vm.attrib["name"] if vm is not None else None
        spaces = [(AddressSpace(pd.attrib["name"], False, guest), pd)]
        spaces += [(AddressSpace(guest, True), vm)] if vm is not None and guest is not None else []
        for holder, element in spaces:
            holders.append(holder)
            for each in element.findall("map"):
                # The manual's defaults: readable and writable, cached.
                rights, cached = each.get("perms", "rw"), each.get("cached", "true") == "true"
                access.setdefault(each.attrib["mr"], []).append(Access(holder, rights, cached))
    regions = tuple(
        Region(
            name=each.attrib["name"],
            size=int(each.attrib["size"], 0) if "size" in each.attrib else None,
            physical=int(each.attrib["phys_addr"], 0) if "phys_addr" in each.attrib else None,
            file=each.get("prefill_path"),
            access=tuple(access.get(each.attrib["name"], [])),
        )
        for each in system.iter("memory_region")
    )
    return Isolation(tuple(holders), regions)


def statements(isolation: Isolation) -> Iterator[str]:
    """What the matrix means for the guests, a sentence each."""
    shared = isolation.shared_by_guests()
    writable = [region for region in shared if any("w" in each.rights and each.holder.guest for each in region.access)]
    memory = [region for region in writable if not region.device]
    if memory:
        yield "guests share writable memory: " + ", ".join(region.name for region in memory)
    else:
        yield "no two guests share memory"
    for region in writable:
        if region.device:
            who = ", ".join(each.holder.name for each in region.access if each.holder.guest)
            yield f"{region.name} is mapped into {who}: the kernel switches its content with the guest that runs"
    for guest in isolation.guests:
        owned = isolation.devices_of(guest)
        if owned:
            yield f"{guest.name} owns devices: " + ", ".join(region.name for region in owned)
    for holder in isolation.holders:
        heard = [
            region.name
            for region in isolation.regions
            if region.rights_of(holder) == "r" and any("w" in each.rights for each in region.access)
        ]
        if heard:
            yield f"{holder.label} reads what others write: {', '.join(heard)}"
    yield from isolation.findings


def table(isolation: Isolation) -> Iterator[str]:
    """A row for each region, a column for each holder."""
    heads = [holder.label for holder in isolation.holders]
    names = max((len(region.name) for region in isolation.regions), default=6)
    places = max((len(region.place) for region in isolation.regions), default=5)
    yield "  ".join([f"{'region':<{names}}", f"{'size':<{places}}", *heads]).rstrip()
    for region in isolation.regions:
        cells = [
            f"{region.rights_of(holder) or '.':<{len(head)}}"
            for holder, head in zip(isolation.holders, heads, strict=True)
        ]
        yield "  ".join([f"{region.name:<{names}}", f"{region.place:<{places}}", *cells]).rstrip()


def rows(isolation: Isolation) -> Iterator[str]:
    """A line for each region with those who map it: for systems with too many holders for a table."""
    names = max((len(region.name) for region in isolation.regions), default=6)
    places = max((len(region.place) for region in isolation.regions), default=5)
    for region in isolation.regions:
        who = ", ".join(f"{each.holder.label} {each.rights}" for each in region.access) or "no domain"
        yield f"{region.name:<{names}}  {region.place:<{places}}  {who}"


def powers(isolation: Isolation) -> Iterator[str]:
    """A line for each holder with what it may do apart from memory."""
    width = max((len(label) for label, _ in isolation.powers), default=0)
    for label, words in isolation.powers:
        yield f"{label:<{width}}  {words}"


def isolation_text(isolation: Isolation, notes: Iterable[str] = ()) -> str:
    """The access matrix for a terminal, then what it means, `notes`, and what it was derived from."""
    lines = list(table(isolation))
    if max(len(line) for line in lines) > WIDTH:
        lines = list(rows(isolation))
    if isolation.powers:
        lines += ["", *powers(isolation)]
    return "\n".join([*lines, "", *statements(isolation), *notes, f"derived {isolation.source}"])


def isolation_json(isolation: Isolation, notes: Iterable[str] = ()) -> str:
    """The access matrix as JSON; sizes and addresses are numbers of bytes.

    notes: what no map shows, such as devices that reach all memory by DMA.
    """
    return json.dumps(
        {
            "source": isolation.source,
            "holders": [
                {
                    "name": each.name,
                    "kind": "virtual_machine" if each.guest else "protection_domain",
                    "vmm_of": each.vmm_of,
                }
                for each in isolation.holders
            ],
            "regions": [
                {
                    "name": region.name,
                    "size": region.size,
                    "physical": region.physical,
                    "file": region.file,
                    "device": region.device,
                    "access": [
                        {
                            "name": each.holder.name,
                            "kind": "virtual_machine" if each.holder.guest else "protection_domain",
                            "rights": each.rights,
                            "cached": each.cached,
                        }
                        for each in region.access
                    ],
                }
                for region in isolation.regions
            ],
            "capabilities": [
                {"holder": holder, "what": what, "how": how} for holder, what, how in isolation.capabilities
            ],
            "statements": list(statements(isolation)),
            "notes": list(notes),
        },
        indent=2,
    )
