# SPDX-License-Identifier: BSD-2-Clause
"""Memory that a board's tree withholds from guests: reserved areas, and what its memory nodes do not mention.

Devicetree Specification 0.4: 3.4 (memory), 3.5 (reserved-memory), 5.3 (the memory reservation block).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from router.boards.model import Range
from router.devicetree.node import Node, wide
from router.devicetree.tree import Tree

OUTSIDE = "memory that the device tree's memory node does not mention"
MEMRESERVE = "what the device tree's /memreserve/ keeps"


def withheld(tree: Tree, ram: Range, known: Iterable[Range]) -> tuple[tuple[str, Range], ...]:
    """Parts of `ram` that the tree withholds, sorted and disjoint, each with who has it; without those `known`.

    Areas without a fixed place and those that Linux may use meanwhile (`reusable`) are left to the guests: they serve
    the Linux that the tree was written for. Memory nodes without a size, which a boot loader fills in, say nothing.
    """
    places = [*((MEMRESERVE, Range(*each)) for each in tree.reservations), *_reserved(tree)]
    mentioned = [place for node in _memory_nodes(tree) for place in _ranges(node)]
    if mentioned:
        places += [(OUTSIDE, gap) for gap in _without(ram, mentioned)]
    taken = list(known)
    found = []
    for owner, place in places:
        clipped = Range(max(place.start, ram.start), min(place.end, ram.end) - max(place.start, ram.start))
        for part in _without(clipped, taken) if clipped.size > 0 else ():
            found.append((owner, part))
            taken.append(part)
    return tuple(sorted(found, key=lambda each: each[1].start))


def _memory_nodes(tree: Tree) -> Iterator[Node]:
    for node in tree.root.children.values():
        if node.enabled and (node.string("device_type") == "memory" or node.base_name == "memory"):
            yield node


def _reserved(tree: Tree) -> Iterator[tuple[str, Range]]:
    areas = tree.root.children.get("reserved-memory")
    for node in areas.children.values() if areas is not None else ():
        if node.enabled and "reusable" not in node:
            for place in _ranges(node):
                yield f"'{node.name}' of the device tree's reserved memory", place


def _ranges(node: Node) -> Iterator[Range]:
    """A node's `reg`, of which the parts with a size."""
    if "reg" not in node or node.parent is None:
        return
    cells, address, size = node.cells("reg"), node.parent.address_cells, node.parent.size_cells
    step = address + size
    if step == 0 or len(cells) % step:
        raise node.malformed("reg", f"has {len(cells)} cells; its parent wants {address} and {size} for each area")
    for at in range(0, len(cells), step):
        place = Range(wide(cells[at : at + address]), wide(cells[at + address : at + step]))
        if place.size:
            yield place


def _without(whole: Range, parts: Iterable[Range]) -> Iterator[Range]:
    """What is left of `whole` without `parts`, in order."""
    start = whole.start
    for part in sorted(parts, key=lambda each: each.start):
        if part.overlaps(whole):
            if part.start > start:
                yield Range(start, part.start - start)
            start = max(start, part.end)
    if start < whole.end:
        yield Range(start, whole.end - start)
