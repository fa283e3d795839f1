# SPDX-License-Identifier: BSD-2-Clause
"""Address spaces of an image: which frame is where, with which rights. arm64, pages of 4 KiB and 2 MiB."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from router.errors import HostError
from router.microkit.capdl import Cap, KernelObject, Specification

LEVELS = 4
"""Page tables of level 3 hold pages of 4 KiB; a root may be of level 0 or 1 (seL4, arm_hyp with 40-bit addresses)."""
REGION_FRAME = re.compile(r"frame_mr_(?P<region>.+)_(?P<page>\d{9,})")
"""Frames of memory regions (capdl/builder.rs); all others belong to a program, its stack or its message buffer."""


@dataclass(frozen=True)
class Page:
    """A frame in an address space."""

    vaddr: int
    frame: KernelObject
    rights: str
    cached: bool

    @property
    def size(self) -> int:
        return frame_size(self.frame)


@dataclass(frozen=True)
class Stretch:
    """Neighbouring pages of one region in one address space, in the region's order and with the same rights."""

    region: str
    first: int
    """Number of the region's first page here."""
    vaddr: int
    size: int
    paddr: int | None
    rights: str
    cached: bool


def frame_size(frame: KernelObject) -> int:
    """Bytes of a frame."""
    if frame.size_bits is None:
        raise HostError(f"'{frame.name}' is mapped as memory, and is no frame but a {frame.kind}")
    return 1 << frame.size_bits


def frame_rights(cap: Cap) -> str:
    """Rights of a mapping as the system description writes them."""
    read, write = "read" in cap.rights, "write" in cap.rights
    # A frame capability cannot hand others on; a right that the kernel ignores there is shown all the same.
    more = "".join(f"+{each}" for each in cap.rights if each not in ("read", "write"))
    return f"{'r' * read}{'w' * write}{'x' * cap.executable}{more}" or "-"


def pages(spec: Specification, root: int) -> Iterator[Page]:
    """All pages of an address space; HostError when its tables are not those of arm64."""
    table = spec.objects[root]
    if table.kind != "PageTable" or table.level is None:
        raise HostError(f"'{table.name}' is used as an address space, and is a {table.kind}")
    yield from below(spec, table, table.level, 0)


def below(spec: Specification, table: KernelObject, level: int, base: int) -> Iterator[Page]:
    """The pages that a table of that level covers, from the address `base` on."""
    bits = 12 + 9 * (LEVELS - 1 - level)
    for slot, cap in sorted(table.slots.items()):
        target, vaddr = spec.objects[cap.object], base + (slot << bits)
        if cap.kind == "Frame" and target.kind == "Frame" and target.size_bits == bits:
            yield Page(vaddr, target, frame_rights(cap), cap.cached)
        elif cap.kind == "PageTable" and target.kind == "PageTable" and target.level == level + 1 < LEVELS:
            yield from below(spec, target, level + 1, vaddr)
        else:
            raise HostError(f"slot {slot} of '{table.name}' holds '{target.name}', which does not fit there")


def region_of(frame: KernelObject) -> tuple[str, int] | None:
    """The memory region of a frame and the frame's number in it; None for a program's own memory."""
    match = REGION_FRAME.fullmatch(frame.name)
    return None if match is None else (match["region"], int(match["page"]))


def stretches(found: list[Page]) -> list[Stretch]:
    """The pages of memory regions, neighbours joined."""
    joined: list[Stretch] = []
    for page in sorted(found, key=lambda each: each.vaddr):
        place = region_of(page.frame)
        if place is None:
            continue
        region, number = place
        last = joined[-1] if joined else None
        if last is not None and continues(last, page, region, number):
            size = last.size + page.size
            joined[-1] = Stretch(last.region, last.first, last.vaddr, size, last.paddr, last.rights, last.cached)
        else:
            joined.append(Stretch(region, number, page.vaddr, page.size, page.frame.paddr, page.rights, page.cached))
    return joined


def continues(last: Stretch, page: Page, region: str, number: int) -> bool:
    """Whether a page is the next one of a stretch, in its region, in both address spaces, and in what it allows."""
    physical = None if last.paddr is None else last.paddr + last.size
    return (last.region, last.first + last.size // page.size, last.vaddr + last.size) == (
        region,
        number,
        page.vaddr,
    ) and (last.rights, last.cached, physical) == (page.rights, page.cached, page.frame.paddr)


def mapped(spec: Specification, roots: Mapping[int, str]) -> dict[int, list[str]]:
    """Where each frame is: its index, and for each place the address space's holder."""
    found: dict[int, list[str]] = {}
    for root, holder in roots.items():
        for page in pages(spec, root):
            found.setdefault(page.frame.id, []).append(holder)
    return found


def overlaps(spec: Specification) -> Iterator[tuple[KernelObject, KernelObject]]:
    """Frames at fixed physical addresses that share memory under two names."""
    fixed = sorted(
        ((each.paddr, each) for each in spec.objects if each.kind == "Frame" and each.paddr is not None),
        key=lambda pair: (pair[0], pair[1].id),
    )
    furthest: KernelObject | None = None
    for start, each in fixed:
        if furthest is not None and furthest.paddr is not None and start < furthest.paddr + frame_size(furthest):
            yield furthest, each
        if (
            furthest is None
            or furthest.paddr is None
            or start + frame_size(each) > furthest.paddr + frame_size(furthest)
        ):
            furthest = each
