# SPDX-License-Identifier: BSD-2-Clause
"""What a guest must be given so that its devices work: pages of registers and interrupts, derived from the nodes it
owns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from router.devicetree.address import Registers, bridge_windows, registers
from router.devicetree.interrupts import Trigger, interrupts_of, line_of
from router.devicetree.nature import is_bus
from router.devicetree.node import Node
from router.devicetree.tree import Tree

PAGE = 0x1000


@dataclass(frozen=True)
class MmioRegion:
    """Whole pages of registers in CPU addresses. `note` says why the region is larger than the registers, or who else
    is in it.
    """

    base: int
    size: int
    nodes: tuple[str, ...]
    note: str | None = None

    @property
    def end(self) -> int:
        return self.base + self.size

    @property
    def name(self) -> str:
        """Unique among a guest's regions and fit for a symbol: `usb_38100000`."""
        kind = self.nodes[0].rpartition("/")[2].partition("@")[0]
        return "".join(letter if letter.isalnum() else "_" for letter in kind) + f"_{self.base:x}"


@dataclass(frozen=True)
class OwnedIrq:
    """A shared peripheral interrupt, by its GIC INTID, and the nodes that raise it."""

    intid: int
    trigger: Trigger
    nodes: tuple[str, ...]

    @property
    def node(self) -> str:
        return self.nodes[0]


def mmio_regions(tree: Tree, owned: Sequence[Node]) -> tuple[tuple[MmioRegion, ...], tuple[str, ...]]:
    """The pages of the owned nodes' registers, disjoint and sorted, and notes about those that reach further than
    registers do.
    """
    spans = sorted(
        ((span, node) for node in owned if not is_bus(node) for span in (*registers(node), *bridge_windows(node))),
        key=lambda pair: (pair[0].address, pair[0].end, pair[1].path),
    )
    groups: list[tuple[int, int, list[tuple[Registers, Node]]]] = []
    for span, node in spans:
        base, end = span.address & ~(PAGE - 1), (span.end + PAGE - 1) & ~(PAGE - 1)
        if groups and base < groups[-1][1]:
            low, high, inside = groups.pop()
            groups.append((low, max(high, end), [*inside, (span, node)]))
        else:
            groups.append((base, end, [(span, node)]))
    regions = []
    for base, end, inside in groups:
        paths = tuple(dict.fromkeys(node.path for _, node in inside))
        note = _widened(base, end, inside) or ""
        strangers = _strangers(tree, base, end, inside, set(paths)) if note else ()
        if strangers:
            note += f", where the guest also reaches {' and '.join(strangers)}"
        regions.append(MmioRegion(base, end - base, paths, note or None))
    return tuple(regions), tuple(region.note for region in regions if region.note)


def _widened(base: int, end: int, inside: Iterable[tuple[Registers, Node]]) -> str | None:
    parts = [
        f"{node.name} {span.address:#x}–{span.end - 1:#x}"
        for span, node in inside
        if span.address % PAGE or span.end % PAGE
    ]
    pages = f"{(end - base) // PAGE} pages" if end - base > PAGE else "the page"
    return f"{' and '.join(parts)} widened to {pages} at {base:#x}" if parts else None


def _strangers(
    tree: Tree, base: int, end: int, inside: Iterable[tuple[Registers, Node]], ours: set[str]
) -> tuple[str, ...]:
    """Nodes of others whose registers are in the pages, outside of the registers that are meant."""
    meant = [span for span, _ in inside]
    found = []
    for node in tree.walk():
        if node.path in ours or is_bus(node):
            continue
        for span in registers(node):
            within = base < span.end and span.address < end
            if within and not any(own.address <= span.address and span.end <= own.end for own in meant):
                found.append(node.name)
                break
    return tuple(found)


def irqs(tree: Tree, owned: Sequence[Node]) -> tuple[tuple[OwnedIrq, ...], tuple[str, ...]]:
    """The owned nodes' interrupts at the GIC, sorted, one entry a line, and notes about those that cannot be given
    away.
    """
    lines: dict[int, tuple[Trigger, list[str]]] = {}
    notes = []
    for node in owned:
        if is_bus(node):
            continue
        for interrupt in interrupts_of(tree, node):
            line = line_of(tree, interrupt)
            if line is None:
                continue
            if not line.shared:
                notes.append(f"{node.name}: interrupt {line.intid} is private to each core and stays with seL4")
                continue
            nodes = lines.setdefault(line.intid, (line.trigger, []))[1]
            if node.path not in nodes:
                nodes.append(node.path)
    found = tuple(OwnedIrq(intid, trigger, tuple(nodes)) for intid, (trigger, nodes) in sorted(lines.items()))
    return found, tuple(dict.fromkeys(notes))
