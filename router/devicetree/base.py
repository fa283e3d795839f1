# SPDX-License-Identifier: BSD-2-Clause
"""The tree that a board's guests are cut from: our own for QEMU, the kernel package's for the EVKs, and a sister
board's with our fragment for the MaaXBoard.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from router import resources
from router.boards.model import KernelTree
from router.devicetree.dtc import apply_overlay, compile_source
from router.devicetree.node import Node
from router.devicetree.references import drop_property, references
from router.devicetree.tree import Tree
from router.errors import DescriptionError, HostError

SOURCES = resources.root() / "dts"


# Controllers of buses whose devices are the board's, not the SoC's.
BOARD_BUSES = ("i2c", "spi", "mdio", "mmc", "mipi-dsi", "usb", "serial")


def base_tree(source: str | KernelTree, fetch_kernel_dtb: Callable[[str], Path], override: Path | None = None) -> Tree:
    """The whole tree of a board, with labels. `source`: what the board's facts say of its tree (`Board.tree`).

    fetch_kernel_dtb: gives the file for a name in the kernel package such as `freescale/imx8mq-evk.dtb`; called only
    where it is needed. override: a DTB of the user's, which is taken as it is. Raises HostError for a missing tool or
    a damaged package file, DescriptionError for a damaged override.
    """
    if override is not None:
        return whole_tree(Tree.read(override), override)
    if isinstance(source, str):
        return Tree.parse(compile_source(SOURCES / source), str(SOURCES / source))
    tree = Tree.read(fetch_kernel_dtb(source.dtb), HostError)
    if source.fragment is not None:
        keep_soc(tree, source.soc)
    if source.labels is not None:
        add_labels(tree, Tree.parse(compile_source(SOURCES / source.labels), source.labels))
    if source.fragment is None:
        return tree
    fragment = SOURCES / source.fragment
    return apply_overlay(tree, compile_source(fragment), str(fragment))


def whole_tree(tree: Tree, where: Path) -> Tree:
    """The tree itself; DescriptionError when it is an overlay, which says only what to add to another one."""
    if any("__overlay__" in node.children for node in tree.root.children.values()):
        raise DescriptionError(
            "this is a device tree overlay, not a whole tree",
            f"apply it to the board's tree: fdtoverlay -i BOARD.dtb -o WHOLE.dtb {where.name}; and name WHOLE.dtb",
            str(where),
        )
    return tree


def keep_soc(tree: Tree, soc: tuple[str, ...]) -> None:
    """Takes a board out of its tree and leaves the SoC, in place.

    What goes: the root's nodes other than `soc`; pin groups, GPIO hogs and graph ports; devices on board buses; every
    property that pointed to one of them. Devices with a `status` are disabled, as in the SoC's own source: a board
    switches on what it has.
    """
    for node in list(tree.root.children.values()):
        if node.name not in soc:
            node.detach()
    for node in list(tree.walk()):
        above = node.parent
        if above is None or above.parent is None:
            continue
        on_board_bus = above.base_name in BOARD_BUSES or (above.base_name == "ethernet" and node.base_name == "mdio")
        if on_board_bus or "fsl,pins" in node or "gpio-hog" in node or node.base_name in ("port", "ports"):
            node.detach()
    for node in tree.walk():
        for name in dict.fromkeys(reference.name for reference in references(tree, node) if reference.target is None):
            drop_property(node, name)
        if "status" in node:
            node.set_strings("status", "disabled")


def add_labels(tree: Tree, labels: Tree) -> None:
    """Adds the labels of another tree's /__symbols__ whose nodes are in this one, and phandles: libfdt wants both of a
    target. A node that a later kernel calls by another name is found by its unit address.
    """
    found = {label: node for label, path in labels.labels.items() if (node := _find(tree, path)) is not None}
    tree.ensure_phandles(found.values())
    symbols = tree.root.ensure_child("__symbols__")
    for label, node in found.items():
        symbols.set_strings(label, node.path)


def _find(tree: Tree, path: str) -> Node | None:
    bus, _, name = path.rpartition("/")
    above = tree.get(bus or "/")
    _, at, unit = name.partition("@")
    alike = [node for node in above.children.values() if at and node.name.endswith(at + unit)] if above else []
    return tree.get(path) or (alike[0] if len(alike) == 1 else None)
