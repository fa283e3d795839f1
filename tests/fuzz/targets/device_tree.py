# SPDX-License-Identifier: BSD-2-Clause
"""A device tree blob, and what passing its devices through makes of it.

An input is a blob, or (first byte odd) the recipe of a tree whose properties have names that mean something. What is
read is the same when it was written and read again, and a closure has nothing that the tree has not.
"""

from __future__ import annotations

import struct

from router.devicetree import Node, Tree, conflicts, dependency_closure, passthrough_candidates
from router.errors import DescriptionError

from ._reader import Reader

NAMES = ("soc", "usb@38100000", "intc@8000000", "clock", "phy@1", "pcie@10000000", "gpio", "iommu", "chosen", "cpus")
CELLS = (
    *("#address-cells", "#size-cells", "#interrupt-cells", "#clock-cells", "#phy-cells", "#gpio-cells", "phandle"),
    *("reg", "ranges", "dma-ranges", "interrupts", "interrupt-parent", "interrupts-extended", "interrupt-map"),
    *("interrupt-map-mask", "clocks", "phys", "gpios", "reset-gpios", "power-domains", "iommus", "iommu-map"),
    *("assigned-clocks", "resets", "dmas", "nvmem-cells", "pinctrl-0", "#iommu-cells", "#power-domain-cells"),
    *("#reset-cells", "#dma-cells", "memory-region", "remote-endpoint", "msi-parent", "msi-map", "interconnects"),
)
STRINGS = (
    "compatible",
    "status",
    "device_type",
    "clock-names",
    "linux,phandle",
    "dma-coherent",
    "interrupt-controller",
)
TEXTS = ("simple-bus", "arm,cortex-a15-gic", "arm,gic-v3", "generic-ehci", "pci-host-ecam-generic", "fsl,imx8mq-ccm")


def built(reader: Reader) -> Tree:
    """A tree after a recipe: nodes below nodes, and properties of them."""
    tree = Tree()
    nodes: list[Node] = [tree.root]
    for _ in range(96):
        if not reader:
            break
        kind = reader.number(1)
        node = nodes[(kind >> 2) % len(nodes)]
        match kind & 3:
            case 0:
                name = NAMES[reader.number(1) % len(NAMES)]
                if name not in node.children and name not in node.properties and len(nodes) < 24:
                    nodes.append(node.add_child(name))
            case 1:
                text = TEXTS[reader.number(1) % len(TEXTS)]
                node.set_strings(STRINGS[reader.number(1) % len(STRINGS)], text)
            case 2:
                name = CELLS[reader.number(1) % len(CELLS)]
                node.set_cells(name, *(reader.number(1) for _ in range(reader.number(1) % 12)))
            case _:
                name = CELLS[reader.number(1) % len(CELLS)]
                node.set_bytes(name, reader.take(reader.number(1) % 40))
    return tree


def contents(node: Node) -> tuple[object, ...]:
    return (node.name, tuple(node.properties.items()), tuple(contents(child) for child in node.children.values()))


def one_input(data: bytes) -> None:
    if not data:
        return
    try:
        blob = built(Reader(data[1:])).to_bytes() if data[0] & 1 else data[1:]
        tree = Tree.parse(blob, "a.dtb")
    except DescriptionError as error:
        assert error.message and error.message.isprintable()
        return
    again = Tree.parse(tree.to_bytes(), "a.dtb")
    assert contents(again.root) == contents(tree.root), "what was read is written and read again"
    try:
        candidates = passthrough_candidates(tree)
    except DescriptionError as error:
        assert error.message
        return
    closures = []
    for path in candidates[:8]:
        try:
            closure = dependency_closure(tree, [path], "guest")
        except DescriptionError as error:
            assert error.message
            continue
        assert path in closure.selected and all(tree.get(member.path) is not None for member in closure.members)
        assert all(region.size > 0 for region in closure.regions)
        for member in closure.members:
            closure.chain_text(member.path)
        assert closure.summary() and closure.tree_lines()
        closures.append(closure)
    conflicts(closures)


def sample() -> Tree:
    """A board with an interrupt controller, a clock and a USB controller."""
    tree = Tree()
    root = tree.root
    for name in ("#address-cells", "#size-cells"):
        root.set_cells(name, 1)
    root.set_cells("interrupt-parent", 1)
    gic = root.add_child("intc@8000000")
    gic.set_strings("compatible", "arm,cortex-a15-gic")
    gic.set_bytes("interrupt-controller", b"")
    gic.set_cells("#interrupt-cells", 3)
    gic.set_cells("phandle", 1)
    gic.set_cells("reg", 0x8000000, 0x10000, 0x8010000, 0x10000)
    clock = root.add_child("clock")
    clock.set_strings("compatible", "fixed-clock")
    clock.set_cells("#clock-cells", 0)
    clock.set_cells("phandle", 2)
    usb = root.add_child("usb@38100000")
    usb.set_strings("compatible", "generic-ehci")
    usb.set_cells("reg", 0x38100000, 0x10000)
    usb.set_cells("interrupts", 0, 40, 4)
    usb.set_cells("clocks", 2)
    return tree


def seeds() -> list[bytes]:
    blob = sample().to_bytes()
    cells = {name: number for number, name in enumerate(CELLS)}
    recipe = bytes([1, 2, cells["#address-cells"], 1, 1, 2, cells["#size-cells"], 1, 1, 0, 1, 0, 2])
    recipe += bytes([6, cells["reg"], 2, 56, 1, 5, 3, 0, 6, cells["interrupts"], 3, 0, 4, 4])
    recipe += bytes([10, cells["phandle"], 1, 1, 6, cells["interrupt-parent"], 1, 1, 9, 1, 0])
    loop = bytes([1, 0, 1, 6, cells["phandle"], 1, 1, 6, cells["interrupt-parent"], 1, 1, 5, 3, 0])
    return [
        b"\0" + blob,
        b"\0" + blob[:100],
        b"\0" + struct.pack(">10I", 0xD00DFEED, 40, 40, 40, 40, 17, 16, 0, 0, 0),
        recipe,
        loop,
    ]
