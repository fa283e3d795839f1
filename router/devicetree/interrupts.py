# SPDX-License-Identifier: BSD-2-Clause
"""From `interrupts`, `interrupts-extended` and `interrupt-map` to the interrupt numbers of the GIC.

Devicetree Specification 0.4, chapter 2.4; specifiers of the GIC: Linux's binding arm,gic(-v3).yaml. Numbers are
INTIDs: SPI n is 32 + n, PPI n is 16 + n.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from router.devicetree.node import Cells, Node
from router.devicetree.tree import Tree
from router.errors import DescriptionError

Trigger = Literal["edge", "level"]

GIC_V2 = (
    "arm,gic-400",
    "arm,cortex-a15-gic",
    "arm,cortex-a9-gic",
    "arm,cortex-a7-gic",
    "arm,eb11mp-gic",
    "qcom,msm-qgic2",
)
GIC_V3 = ("arm,gic-v3", "qcom,msm8996-gic-v3")
# Wake-up controllers between devices and the GIC that hand a specifier of three GIC cells on unchanged (Linux: irq-
# imx-gpcv2).
TRANSPARENT = ("fsl,imx8mq-gpc", "fsl,imx8mm-gpc", "fsl,imx8mn-gpc", "fsl,imx8mp-gpc", "fsl,imx7d-gpc", "fsl,imx6q-gpc")
FIRST_PPI, FIRST_SPI = 16, 32
EDGE_FLAGS = 0b0011  # 1 rising, 2 falling; 4 high level, 8 low level


@dataclass(frozen=True)
class Interrupt:
    """One interrupt of a node, at the controller that its specifier is for."""

    node: Node
    controller: Node
    specifier: Cells
    what: str  # the property it was read from


@dataclass(frozen=True)
class MapRow:
    """A row of `interrupt-map`: `key` is the child's unit address and specifier, `unit` the controller's address."""

    key: Cells
    controller: Node
    unit: Cells
    specifier: Cells


@dataclass(frozen=True)
class GicInput:
    """An input of the GIC."""

    intid: int
    trigger: Trigger

    @property
    def shared(self) -> bool:
        """A shared peripheral interrupt: one that can be given to a guest (PPIs belong to a core)."""
        return self.intid >= FIRST_SPI


def is_gic(node: Node) -> bool:
    return any(name in GIC_V2 or name in GIC_V3 for name in node.compatible)


def is_transparent(node: Node) -> bool:
    """A controller that only forwards to the GIC: nodes behind it keep their GIC numbers."""
    return any(name in TRANSPARENT for name in node.compatible)


def find_gic(tree: Tree) -> Node | None:
    return next((node for node in tree.walk() if is_gic(node)), None)


def interrupt_parent(tree: Tree, node: Node) -> Node | None:
    """The controller or nexus of a node's `interrupts`: the nearest `interrupt-parent` up the tree, else the nearest
    ancestor with `#interrupt-cells`. None when there is neither.
    """
    here: Node | None = node
    while here is not None:
        if "interrupt-parent" in here:
            target = tree.by_phandle(here.u32("interrupt-parent"))
            if target is None:
                raise here.malformed("interrupt-parent", "points to no node")
            return target
        if here is not node and "#interrupt-cells" in here:
            return here
        here = here.parent
    return None


def interrupts_of(tree: Tree, node: Node) -> tuple[Interrupt, ...]:
    """A node's own interrupts, and for a PCI host bridge those of its INTx lines, each at its controller.

    Raises DescriptionError for lists of the wrong length and for controllers that are not there.
    """
    found: list[Interrupt] = []
    if "interrupts-extended" in node:
        for controller, specifier in extended_entries(tree, node):
            found += _through_nexus(tree, node, controller, specifier, "interrupts-extended")
    elif "interrupts" in node:
        parent = interrupt_parent(tree, node)
        if parent is None:
            raise node.malformed("interrupts", "has no interrupt-parent")
        step = parent.count("#interrupt-cells")
        cells = node.cells("interrupts")
        if step == 0 or len(cells) % step:
            raise node.malformed("interrupts", f"has {len(cells)} cells; {parent.path} takes {step} an interrupt")
        for at in range(0, len(cells), step):
            found += _through_nexus(tree, node, parent, cells[at : at + step], "interrupts")
    for row in map_rows(tree, node):
        candidate = Interrupt(node, row.controller, row.specifier, "interrupt-map")
        if candidate not in found:
            found.append(candidate)
    return tuple(found)


def line_of(tree: Tree, interrupt: Interrupt) -> GicInput | None:
    """The GIC input of an interrupt; None when its controller is another device's (a GPIO bank), which then is a
    dependency.
    """
    controller, specifier = interrupt.controller, interrupt.specifier
    for _ in range(8):
        if is_gic(controller):
            return _gic_line(interrupt.node, specifier)
        above = interrupt_parent(tree, controller) if is_transparent(controller) else None
        if above is None:
            return None
        controller = above
    raise DescriptionError(f"the interrupt controllers above {interrupt.node.path} form a circle", None)


def map_rows(tree: Tree, nexus: Node) -> Iterator[MapRow]:
    """The rows of a node's `interrupt-map`; none when it has no map."""
    cells = nexus.cells("interrupt-map")
    key = (nexus.address_cells + nexus.count("#interrupt-cells")) if cells else 0
    at = 0
    while at < len(cells):
        controller = tree.by_phandle(cells[at + key]) if at + key < len(cells) else None
        if controller is None:
            raise nexus.malformed("interrupt-map", "points to no controller, or is cut short")
        # Without #address-cells a controller takes none here, unlike the default for children (of_irq_parse_raw).
        unit = at + key + 1
        start = unit + controller.count("#address-cells", 0)
        end = start + controller.count("#interrupt-cells")
        if end > len(cells):
            raise nexus.malformed("interrupt-map", "is cut short")
        yield MapRow(cells[at : at + key], controller, cells[unit:start], cells[start:end])
        at = end


def _through_nexus(tree: Tree, node: Node, controller: Node, specifier: Cells, what: str) -> list[Interrupt]:
    """Follows `interrupt-map` where the parent is a nexus instead of a controller."""
    for _ in range(8):
        if "interrupt-controller" in controller or "interrupt-map" not in controller:
            return [Interrupt(node, controller, specifier, what)]
        nexus = controller
        unit = node.cells("reg")[: nexus.address_cells]
        unit += (0,) * (nexus.address_cells - len(unit))
        key = unit + specifier
        mask = nexus.cells("interrupt-map-mask") or (0xFFFFFFFF,) * len(key)
        masked = tuple(cell & bits for cell, bits in zip(key, mask, strict=False))
        for row in map_rows(tree, nexus):
            if tuple(cell & bits for cell, bits in zip(row.key, mask, strict=False)) == masked:
                controller, specifier = row.controller, row.specifier
                break
        else:
            raise node.malformed(what, f"is not in the interrupt-map of {nexus.path}")
    raise DescriptionError(f"the interrupt maps above {node.path} form a circle", None)


def extended_entries(tree: Tree, node: Node) -> Iterator[tuple[Node, Cells]]:
    """The entries of a node's `interrupts-extended`: (controller, specifier)."""
    cells = node.cells("interrupts-extended")
    at = 0
    while at < len(cells):
        if cells[at] == 0:  # a hole in the list
            at += 1
            continue
        controller = tree.by_phandle(cells[at])
        if controller is None:
            raise node.malformed("interrupts-extended", "points to no node")
        end = at + 1 + controller.count("#interrupt-cells")
        if end > len(cells):
            raise node.malformed("interrupts-extended", "is cut short")
        yield controller, cells[at + 1 : end]
        at = end


def _gic_line(node: Node, specifier: Cells) -> GicInput:
    if len(specifier) < 3 or specifier[0] > 1:
        raise node.malformed("interrupts", f"is not a GIC specifier: {' '.join(map(hex, specifier))}")
    kind, number, flags = specifier[:3]
    return GicInput(number + (FIRST_PPI if kind == 1 else FIRST_SPI), "edge" if flags & EDGE_FLAGS else "level")
