# SPDX-License-Identifier: BSD-2-Clause
"""The memory map: who has which part of the board's RAM, and whose each device's registers are."""

from __future__ import annotations

from dataclasses import dataclass

from router.boards.model import Range
from router.plan.models import RegionKind, SystemPlan
from router.report.drawing import Box, Drawing
from router.words import size_text

WIDTH = 1040.0
LEFT, BAR = 170.0, 150.0
TOP = 84.0
LEAST = 26.0
"""Height of the smallest part, so that its name can stand in it."""
SCALE = 420.0
"""Height of the whole RAM, were all parts in proportion."""
ROW = 30.0


@dataclass(frozen=True)
class Part:
    """A part of the RAM, from its first address on."""

    range: Range
    name: str
    style: str


def ram_parts(plan: SystemPlan) -> list[Part]:
    """The RAM from its start to its end, without gaps: reserved parts, guests' RAM, and what is left to seL4."""
    ram = plan.board.ram
    taken = [Part(place, inhabitant, "band") for inhabitant, place in plan.board.reserved]
    taken += [
        Part(region.physical, f"RAM of {region.owner}", "guest")
        for region in plan.regions
        if region.kind is RegionKind.GUEST_RAM and region.physical is not None
    ]
    parts: list[Part] = []
    start = ram.start
    for part in sorted(taken, key=lambda each: each.range.start):
        if part.range.start > start:
            parts.append(Part(Range(start, part.range.start - start), "seL4's: programs, queues, images", "free"))
        parts.append(part)
        start = part.range.end
    if start < ram.end:
        parts.append(Part(Range(start, ram.end - start), "seL4's: programs, queues, images", "free"))
    return parts


def owners(plan: SystemPlan) -> dict[str, list[str]]:
    """Who maps each region, by its name: guests by their names, domains by theirs."""
    found: dict[str, list[str]] = {}
    for pd in plan.pds:
        for each in pd.maps:
            found.setdefault(each.region, []).append(pd.name)
        for each in pd.vm.maps if pd.vm is not None else ():
            found.setdefault(each.region, []).append(f"guest {pd.vm.name}" if pd.vm is not None else "")
    return found


def draw_ram(drawing: Drawing, plan: SystemPlan) -> float:
    """The RAM as a bar; returns where it ends."""
    y = TOP
    for part in ram_parts(plan):
        height = max(LEAST, SCALE * part.range.size / plan.board.ram.size)
        drawing.box(Box(LEFT, y, BAR, height, part.style, 2, f"{part.name} {part.range}"))
        drawing.text(LEFT - 12, y + 12, f"{part.range.start:#x}", "mono soft", "end")
        drawing.text(LEFT + BAR + 14, y + height / 2 + 4, part.name, room=240)
        drawing.text(LEFT + BAR / 2, y + height / 2 + 4, size_text(part.range.size), "small soft", "middle")
        y += height
    drawing.text(LEFT - 12, y + 4, f"{plan.board.ram.end:#x}", "mono soft", "end")
    return y


def draw_devices(drawing: Drawing, plan: SystemPlan) -> float:
    """The devices as rows in the order of their addresses; returns where they end."""
    who = owners(plan)
    devices = [(region.phys_addr, region) for region in plan.regions if region.kind is RegionKind.DEVICE]
    x, y = 580.0, TOP
    for address, region in sorted(devices, key=lambda each: (each[0] or 0, each[1].name)):
        holders = who.get(region.name, [])
        style = "chip" if len(holders) == 1 and not holders[0].startswith("guest ") else "usbchip"
        if len(holders) > 1:
            style = "pd"
        drawing.box(Box(x, y, WIDTH - x - 40, ROW - 4, style, 4, region.why))
        drawing.text(x + 10, y + 17, f"{address or 0:#x}", "mono")
        drawing.text(x + 98, y + 17, size_text(region.size), "small soft")
        drawing.text(x + 156, y + 17, region.name, "small", room=160)
        names = holders[0] if len(holders) == 1 else f"{len(holders)} guests"
        drawing.text(WIDTH - 50, y + 17, names.removeprefix("guest "), "small strong", "end", room=110)
        y += ROW
    return y


def memory_svg(plan: SystemPlan) -> str:
    """The map as SVG text; parts below a least height are drawn larger than in proportion."""
    drawing = Drawing("memory", f"{plan.name}: memory map", WIDTH)
    drawing.text(40, 44, "Memory", "head")
    drawing.text(LEFT, 70, f"RAM of {plan.board.title}, {size_text(plan.board.ram.size)}", "small soft")
    drawing.text(580, 70, "Registers and who maps them", "small soft")
    drawing.height = max(draw_ram(drawing, plan), draw_devices(drawing, plan)) + 36
    return drawing.render()
