# SPDX-License-Identifier: BSD-2-Clause
"""The board's tree cut down to what one guest owns, with every reference to what stayed behind taken out or turned to
the GIC.
"""

from __future__ import annotations

from router.devicetree.closure import Closure
from router.devicetree.interrupts import extended_entries, find_gic, is_gic, is_transparent, map_rows
from router.devicetree.node import Node
from router.devicetree.references import drop_property, references
from router.devicetree.tree import Tree
from router.errors import DescriptionError


def pruned(base: Tree, closure: Closure) -> tuple[Tree, Node]:
    """A copy of `base` with the members of the closure only, and a bare GIC node at the root for the caller to fill in.

    The GIC keeps its phandle and its #…-cells, so every interrupt specifier stays as it was. Interrupts that ran
    through a wake-up controller (i.MX8M: the GPC) that the guest does not own go straight to the GIC, whose
    specifiers it uses.
    """
    tree = base.copy()
    old = find_gic(tree)
    if old is None:
        raise DescriptionError(
            "the board's device tree has no GIC that is known here", "use a tree with an arm,gic-400 or arm,gic-v3 node"
        )
    gic = Node("interrupt-controller")
    handle = tree.phandle_of(old)
    gic.set_flag("interrupt-controller")
    specifier, unit = old.count("#interrupt-cells"), old.count("#address-cells", 0)
    if specifier < 3:
        raise old.malformed("#interrupt-cells", f"is {specifier}; a GIC's interrupts take three cells or four")
    gic.set_cells("#interrupt-cells", specifier)
    gic.set_cells("#address-cells", unit)  # part of the rows of every interrupt-map
    owned = {member.path for member in closure.members}
    for path in owned:
        _retarget(tree, tree.node(path), owned, handle, unit)
    _retarget_parent(tree, tree.root, owned, handle)
    _cut(tree, owned)
    gic.set_cells("phandle", handle)
    gic.parent, tree.root.children[gic.name] = tree.root, gic
    for node in tree.walk():
        _clean(tree, node)
    for path in owned:
        node = tree.node(path)
        if not node.enabled:
            node.remove_property("status")
    for name in ("aliases", "__symbols__"):
        _keep_living_paths(base, tree, name)
    tree.reservations = ()
    return tree, gic


def _retarget(tree: Tree, node: Node, owned: set[str], gic: int, gic_unit: int) -> None:
    """Turns interrupts of a wake-up controller that the guest lacks to the GIC; drops map rows without a target."""
    _retarget_parent(tree, node, owned, gic)
    extended = list(extended_entries(tree, node))
    if any(_bypassed(controller, owned) for controller, _ in extended):
        handles = [gic if _bypassed(controller, owned) else tree.phandle_of(controller) for controller, _ in extended]
        entries = zip(handles, extended, strict=True)
        node.set_cells("interrupts-extended", *(cell for handle, entry in entries for cell in (handle, *entry[1])))
    rows: list[int] = []
    for row in map_rows(tree, node):
        if is_gic(row.controller) or row.controller.path in owned:
            rows += (*row.key, tree.phandle_of(row.controller), *row.unit, *row.specifier)
        elif _bypassed(row.controller, owned):
            rows += (*row.key, gic, *(0,) * gic_unit, *row.specifier)
    if "interrupt-map" in node:
        node.set_cells("interrupt-map", *rows)


def _retarget_parent(tree: Tree, node: Node, owned: set[str], gic: int) -> None:
    if "interrupt-parent" in node:
        controller = tree.by_phandle(node.u32("interrupt-parent"))
        if controller is not None and _bypassed(controller, owned):
            node.set_cells("interrupt-parent", gic)


def _bypassed(controller: Node, owned: set[str]) -> bool:
    """A wake-up controller that the guest does not own: its interrupts reach the guest without it."""
    return is_transparent(controller) and controller.path not in owned


def _cut(tree: Tree, owned: set[str]) -> None:
    """Removes every node that is neither owned nor above an owned one; the root stays."""
    kept = {"/"}
    for path in owned:
        node = tree.node(path)
        kept |= {node.path, *(above.path for above in node.ancestors())}

    def prune(node: Node, path: str) -> None:
        for child in list(node.children.values()):
            inner = f"{path}/{child.name}"
            if inner in kept:
                prune(child, inner)
            else:
                child.detach()

    prune(tree.root, "")


def _clean(tree: Tree, node: Node) -> None:
    """Takes out lists of phandles that lead to a node which stayed behind."""
    for name in dict.fromkeys(reference.name for reference in references(tree, node) if reference.target is None):
        drop_property(node, name)
    if "interrupt-parent" in node and tree.by_phandle(node.u32("interrupt-parent")) is None:
        node.remove_property("interrupt-parent")


def _keep_living_paths(base: Tree, tree: Tree, name: str) -> None:
    source = base.root.children.get(name)
    if source is None:
        return
    living = {
        entry: value for entry, value in source.properties.items() if tree.get(source.string(entry) or "") is not None
    }
    if living:
        tree.root.ensure_child(name).properties.update(living)
