# SPDX-License-Identifier: BSD-2-Clause
"""Physical memory and address spaces: what is where, and that nothing is where something else is."""

from __future__ import annotations

from collections.abc import Iterator

from router.boards.model import Range
from router.checks.model import Problem, View, guest_path, invariant, overlapping, region_subject
from router.plan.guests import round_up
from router.plan.models import LARGE_PAGE, PAGE, RegionKind
from router.words import rounded_size, size_text

ADDRESS_SPACE = 1 << 40
"""Virtual addresses under a hypervisor kernel with 40 physical address bits, as the SDK builds both boards' kernels."""
PROGRAM = Range(0, 0x1000_0000)
"""Kept free in every protection domain: the null page, and the program from 0x200000 with room for large images."""


@invariant("regions-exist", "every map names a memory region that exists")
def regions_exist(view: View) -> Iterator[Problem]:
    for space in view.spaces:
        for each in space.maps:
            if each.region not in view.regions:
                yield Problem(f"{space} maps '{each.region}' at {each.vaddr:#x}, but that memory region does not exist")


@invariant("regions-used", "every memory region is mapped")
def regions_used(view: View) -> Iterator[Problem]:
    for region in view.plan.regions:
        if region.name not in view.mapped:
            yield Problem(f"the memory region '{region.name}' is not mapped", region_subject(region))


@invariant("pages", "pages are 4 KiB or 2 MiB, and every memory region is a whole number of its pages")
def pages(view: View) -> Iterator[Problem]:
    for region in view.plan.regions:
        if region.page_size not in (PAGE, LARGE_PAGE):
            yield Problem(f"'{region.name}' has pages of {region.page_size:#x} bytes; there are 4 KiB and 2 MiB ones")
        elif region.size <= 0 or region.size % region.page_size:
            ram = region.kind is RegionKind.GUEST_RAM
            best = max(round_up(region.size, region.page_size), region.page_size)
            yield Problem(
                f"'{region.name}' is {size_text(region.size)}, which is not a multiple of its"
                f" {size_text(region.page_size)} pages",
                region_subject(region),
                f"write 'memory: {size_text(best)}'" if ram else None,
            )


@invariant("physical-alignment", "every fixed physical address is a multiple of its region's page size")
def physical_alignment(view: View) -> Iterator[Problem]:
    for region in view.plan.regions:
        if region.phys_addr is not None and region.phys_addr % region.page_size:
            yield Problem(
                f"'{region.name}' lies at {region.phys_addr:#x}, which is not a multiple of its"
                f" {size_text(region.page_size)} pages",
                region_subject(region),
            )


@invariant("guest-ram-fits", "all guests' RAM together fits in what the board has for guests")
def guest_ram_fits(view: View) -> Iterator[Problem]:
    guests, board = view.plan.guests, view.plan.board
    needed = sum(round_up(guest.ram.size, LARGE_PAGE) for guest in guests)
    if needed > board.guest_ram.size:
        excess = needed - board.guest_ram.size
        each = " + ".join(f"{guest.name} {size_text(guest.ram.size)}" for guest in guests)
        yield Problem(
            f"the guests' RAM adds up to {size_text(needed)} ({each}), and {board.title} has"
            f" {size_text(board.guest_ram.size)} for guests ({board.guest_ram})",
            guest_path(guests[-1].name, "memory"),
            f"take {size_text(excess)} away from one or several guests",
        )
        return
    kept = [(who, place) for who, place in board.reserved if place.overlaps(board.guest_ram)]
    for guest in guests:
        if guest.ram.end > board.guest_ram.end:
            what = "; ".join(f"{who} {place}" for who, place in kept)
            yield Problem(
                f"the RAM of '{guest.name}', {size_text(guest.ram.size)}, finds no piece of {board.guest_ram} that is"
                f" not reserved. Reserved: {what}",
                guest_path(guest.name, "memory"),
                "give guests less memory, the large ones first; if the board has more than its device tree's memory"
                " node says, correct the node, as boot loaders do",
            )
            return


@invariant("guest-ram-on-board", "guest RAM lies inside the board's RAM", after=("guest-ram-fits",))
def guest_ram_on_board(view: View) -> Iterator[Problem]:
    ram = view.plan.board.ram
    for region in view.of_kind(RegionKind.GUEST_RAM):
        if region.physical is not None and not ram.contains(region.physical):
            yield Problem(
                f"'{region.name}' {region.physical} reaches outside the RAM of {view.plan.board.title} {ram}",
                region_subject(region),
            )


@invariant(
    "reserved-memory",
    "no guest RAM lies over the kernel, the loader's image or the firmware",
    after=("guest-ram-fits",),
)
def reserved_memory(view: View) -> Iterator[Problem]:
    for region in view.of_kind(RegionKind.GUEST_RAM):
        for inhabitant, place in view.plan.board.reserved:
            if region.physical is not None and region.physical.overlaps(place):
                yield Problem(
                    f"'{region.name}' {region.physical} lies over {inhabitant} {place}", region_subject(region)
                )


@invariant("physical-overlap", "no two memory regions share a physical address", after=("guest-ram-fits",))
def physical_overlap(view: View) -> Iterator[Problem]:
    placed = [(region.physical, region.name) for region in view.plan.regions if region.physical is not None]
    for (first, one), (second, other) in overlapping(placed):
        subject = region_subject(view.regions[other]) or region_subject(view.regions[one])
        yield Problem(f"memory regions '{one}' {first} and '{other}' {second} overlap", subject)


@invariant(
    "ram-budget", "regions without a physical address fit in the RAM that the guests leave", after=("guest-ram-fits",)
)
def ram_budget(view: View) -> Iterator[Problem]:
    board = view.plan.board
    free = board.ram.size - sum(place.size for _, place in board.reserved)
    free -= sum(region.size for region in view.of_kind(RegionKind.GUEST_RAM))
    floating = [region for region in view.plan.regions if region.phys_addr is None]
    needed = sum(region.size for region in floating)
    if needed > free:
        largest = max(floating, key=lambda region: (region.size, region.name))
        yield Problem(
            f"queues, frames and images need {rounded_size(needed)}, and the guests leave"
            f" {rounded_size(max(free, 0))} of the board's RAM; the largest is '{largest.name}' with"
            f" {size_text(largest.size)}",
            ("network", "queue") if largest.kind is RegionKind.FRAMES else None,
            "make the network's queues smaller, or give the guests less memory",
        )


@invariant("loader-image", "the files that the image carries fit in the loader's part of the RAM")
def loader_image(view: View) -> Iterator[Problem]:
    board = view.plan.board
    place = next((place for _, place in board.reserved if place.start == board.loader), None)
    carried = list(view.of_kind(RegionKind.PAYLOAD))
    needed = sum(region.size for region in carried)
    if place is not None and needed > place.size:
        yield Problem(
            f"the image carries {len(carried)} files of together {rounded_size(needed)}, and the boot loader has"
            f" {size_text(place.size)} for it ({place})",
            hint="let guests share an image: each image is carried once, however many guests use it",
        )


@invariant("map-alignment", "every map's address is a multiple of its region's page size", after=("regions-exist",))
def map_alignment(view: View) -> Iterator[Problem]:
    for space in view.spaces:
        for each in space.maps:
            region = view.regions[each.region]
            if each.vaddr % region.page_size:
                yield Problem(
                    f"{space} maps '{each.region}' at {each.vaddr:#x}, which is not a multiple of its"
                    f" {size_text(region.page_size)} pages"
                )


@invariant("map-overlap", "no two maps of one address space overlap", after=("regions-exist", "guest-ram-fits"))
def map_overlap(view: View) -> Iterator[Problem]:
    for space in view.spaces:
        placed = [(Range(each.vaddr, view.regions[each.region].size), each.region) for each in space.maps]
        for (first, one), (second, other) in overlapping(placed):
            yield Problem(
                f"in {space} the maps of '{one}' {first} and '{other}' {second} overlap",
                region_subject(view.regions[other]) or region_subject(view.regions[one]),
            )


@invariant(
    "map-bounds", "every map lies in its address space, clear of the program and the stack", after=("regions-exist",)
)
def map_bounds(view: View) -> Iterator[Problem]:
    for space in view.spaces:
        top = ADDRESS_SPACE - PAGE - (0 if space.vm else space.pd.stack_size)
        for each in space.maps:
            place = Range(each.vaddr, view.regions[each.region].size)
            if place.start < 0 or place.end > top:
                yield Problem(f"{space} maps '{each.region}' {place}, and its address space ends at {top:#x}")
            elif space.vm is None and place.overlaps(PROGRAM):
                yield Problem(f"{space} maps '{each.region}' {place} over its own program {PROGRAM}")
