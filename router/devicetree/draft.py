# SPDX-License-Identifier: BSD-2-Clause
"""A draft of a board's file from its device tree: what the tree says, and a list of what it does not.

A field that is not known is `...`, which `router.boards.board` refuses, so that a draft is never taken for a board.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from router.boards.model import Range, TimerKind, UartKind
from router.devicetree.address import bridge_windows, registers
from router.devicetree.closure import dependency_closure, is_usb_controller
from router.devicetree.interrupts import GIC_V3, GicInput, find_gic, interrupts_of, line_of
from router.devicetree.node import Node
from router.devicetree.tree import Tree
from router.display import escape
from router.errors import DescriptionError

MiB = 1 << 20
KERNEL, IMAGE = 16 * MiB, 128 * MiB
"""What the boards of router keep for seL4 and for the loader's image."""
HOLE = 2 * MiB
"""Alignment and size of the place for the devices that the VMM emulates."""
UARTS = {
    "arm,pl011": UartKind.PL011,
    "fsl,imx6q-uart": UartKind.IMX,
    "fsl,imx8mm-uart": UartKind.IMX,
    "fsl,imx8mq-uart": UartKind.IMX,
}
"""Linux's names of what the drivers in drivers/ drive."""
TIMERS = {"fsl,imx6dl-gpt": TimerKind.IMX_GPT, "fsl,imx6sx-gpt": TimerKind.IMX_GPT, "fsl,imx31-gpt": TimerKind.IMX_GPT}
MISSING = "..."


@dataclass
class Draft:
    """text: the board's file. missing: what must be added, assumed: what must be checked; each with where to look.
    found: what the tree says of USB.
    """

    text: str = ""
    missing: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)


def draft_board(name: str, tree: Tree, dtb: str, loader: int | None) -> Draft:
    """The draft of the board `name`.

    dtb: what the kernel package may call the tree. loader: where an installed SDK's loader for a board of that name is
    linked to, else None. Raises DescriptionError for a tree that is damaged.
    """
    out = Draft()
    ram, banks = _memory(tree)
    fields = {
        "name": _quoted(name),
        "title": _quoted(tree.root.string("model") or name),
        "microkit": _quoted(name) if loader is not None else MISSING,
        "cores": str(sum(node.string("device_type") == "cpu" and node.enabled for node in tree.walk()) or MISSING),
        "ram": _range(ram),
        **_places(ram, loader),
        "boot_loader": "BootLoader()",
        "gic": _gic(tree),
        "uart": _uart(tree, out),
        "timer": _timer(tree),
        **_emulated(tree, ram),
        "max_irq": MISSING,
        "smmu": "False",
        "tree": f"KernelTree(dtb={_quoted(dtb)})",
    }
    out.missing[:0] = [f"{each}: {WHERE[each]}" for each, value in fields.items() if value == MISSING]
    out.assumed += _assumptions(tree, ram, banks, dtb)
    out.found += _usb(tree)
    said = [*(f"missing: {each}" for each in out.missing), *(f"to check: {each}" for each in out.assumed)]
    remarks = ["# " + line.encode("unicode_escape").decode() for line in said]  # one line each, whatever the tree says
    body = [f"    {each}={value}," for each, value in fields.items()]
    out.text = "\n".join([HEAD, *remarks, "", "BOARD = Board(", *body, ")", ""])
    return out


HEAD = '''# SPDX-License-Identifier: BSD-2-Clause
"""A draft from a device tree."""

from router.boards.model import Board, BoardDevice, BootLoader, Gic, KernelTree, Range, VirtioSlots
'''
WHERE = {
    "microkit": "the Microkit SDK's name for the board; no installed SDK has one of this name",
    "cores": "the tree has no node of a CPU",
    "ram": "the tree's memory node says no size: the board's manual, or what its U-Boot prints (bdinfo)",
    "reserved": "needs ram and loader: the kernel, the loader's image, the secure firmware (OP-TEE's CFG_TZDRAM_START)",
    "guest_ram": "needs ram, and a loader in it: what 'reserved' leaves",
    "loader": "where the SDK's loader is linked to: readelf -l board/BOARD/CONFIG/elf/loader.elf",
    "start": "the boot loader's command, as go and the address of loader",
    "gic": "the tree has no GIC that is known here",
    "uart": "the console: a UART that a driver in drivers/ drives (UartKind), its registers and interrupt",
    "timer": "a timer that a driver in drivers/ drives (TimerKind), and that Linux and seL4 leave alone",
    "virtio": "interrupts that no device has, and addresses that nothing uses",
    "early_console": "a page of addresses that nothing uses",
    "max_irq": "MAX_IRQ in seL4's config.cmake for the platform",
}


def _quoted(text: str) -> str:
    """A Python string in ASCII, whatever is in the text: nothing in it changes what a reader of the file sees.

    JSON's escapes are Python's too; the others are those of `router.display`, also for bytes that are not UTF-8.
    """
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if " " <= char <= "~" else escape(char) for char in quoted)


def _memory(tree: Tree) -> tuple[Range | None, int]:
    """The first bank of RAM, and how many there are."""
    nodes = [node for node in tree.root.children.values() if node.base_name == "memory" and node.enabled]
    banks = [Range(span.address, span.size) for node in nodes for span in registers(node)]
    return (banks[0] if banks else None), len(banks)


def _range(place: Range | None) -> str:
    return MISSING if place is None else f"Range({place.start:#x}, {place.size:#x})"


def _places(ram: Range | None, loader: int | None) -> dict[str, str]:
    """What follows from where the RAM and the boot loader are."""
    if ram is None or loader is None:
        return {
            "reserved": MISSING,
            "guest_ram": MISSING,
            "loader": MISSING if loader is None else f"{loader:#x}",
            "start": MISSING if loader is None else _quoted(f"go {loader:#x}"),
        }
    kernel, image = Range(ram.start, KERNEL), Range(loader, IMAGE)
    fits = ram.start <= loader and image.end < ram.end
    return {
        "reserved": f'(("the seL4 kernel", {_range(kernel)}), ("the loader\'s image", {_range(image)}))',
        "guest_ram": _range(Range(image.end, ram.end - image.end)) if fits else MISSING,
        "loader": f"{loader:#x}",
        "start": _quoted(f"go {loader:#x}"),
    }


def _gic(tree: Tree) -> str:
    gic = find_gic(tree)
    spans = registers(gic) if gic is not None else ()
    if gic is None or len(spans) < 2:
        return MISSING
    first, second, *rest = (Range(span.address, span.size) for span in spans)
    if any(name in GIC_V3 for name in gic.compatible):
        return f"Gic(version=3, distributor={_range(first)}, redistributor=Range({second.start:#x}, 0x20000))"
    if len(rest) < 2:
        return MISSING
    return (
        f"Gic(version=2, distributor={_range(first)}, cpu_interface={_range(second)}, vcpu_interface={_range(rest[1])})"
    )


def _device(tree: Tree, node: Node, kind: str) -> str:
    """A BoardDevice; MISSING for a node without registers or an interrupt at the GIC."""
    spans = registers(node)
    lines = [line for each in interrupts_of(tree, node) if (line := line_of(tree, each)) is not None]
    if not spans or not lines:
        return MISSING
    edge = ", edge=True" if lines[0].trigger == "edge" else ""
    return f"BoardDevice({_quoted(kind)}, Range({spans[0].address:#x}, {spans[0].size:#x}), irq={lines[0].intid}{edge})"


def _uart(tree: Tree, out: Draft) -> str:
    chosen = tree.root.children.get("chosen")
    path = (chosen.string("stdout-path") if chosen is not None else None) or ""
    try:
        node = tree.resolve(path.partition(":")[0]) if path else None
    except DescriptionError:
        node = None
    if node is None:
        return MISSING
    kind = next((UARTS[name] for name in node.compatible if name in UARTS), None)
    if kind is None:
        out.missing.append(f"a driver of the console {node.name} ('{' '.join(node.compatible)}'): a file in drivers/")
        return MISSING
    return _device(tree, node, kind.value)


def _timer(tree: Tree) -> str:
    for node in tree.walk():
        kind = next((TIMERS[name] for name in node.compatible if name in TIMERS), None)
        if kind is not None and (text := _device(tree, node, kind.value)) != MISSING:
            return text
    return MISSING


def _emulated(tree: Tree, ram: Range | None) -> dict[str, str]:
    """Places for what the VMM emulates: interrupts behind all of the tree's, addresses that no node has."""
    numbers = [line.intid for node in tree.walk() for line in _lines(tree, node)]
    irq = (max(numbers, default=31) + 32) // 32 * 32
    base = _hole(tree, ram)
    if base is None or irq > 1000:
        return {"virtio": MISSING, "early_console": MISSING}
    return {
        "virtio": f"VirtioSlots(base={base:#x}, stride=0x200, irq={irq})",
        "early_console": f"Range({base + HOLE // 2:#x}, 0x1000)",
    }


def _lines(tree: Tree, node: Node) -> Iterable[GicInput]:
    return (line for each in interrupts_of(tree, node) if (line := line_of(tree, each)) is not None)


def _hole(tree: Tree, ram: Range | None) -> int | None:
    """The lowest free addresses of HOLE bytes below 4 GiB, not in the first HOLE: an address of 0 is no place."""
    used = [
        Range(span.address, span.size) for node in tree.walk() for span in (*registers(node), *bridge_windows(node))
    ]
    used += [ram] if ram is not None else []
    at = HOLE
    for each in sorted((each for each in used if each.size), key=lambda each: each.start):
        if each.start >= at + HOLE:
            break
        at = max(at, -(-each.end // HOLE) * HOLE)
    return at if at < 1 << 32 else None


def _assumptions(tree: Tree, ram: Range | None, banks: int, dtb: str) -> list[str]:
    out = [
        f"tree: the guests' kernel package has to have {dtb}; else name a source in dts/",
        "reserved: the secure firmware's memory, of which the tree says nothing",
        "virtio, early_console: free in the tree; the SoC's manual may have something there",
    ]
    if banks > 1 and ram is not None:
        out.append(f"ram: the first of {banks} banks; guests get RAM from {ram} only")
    if any("#iommu-cells" in node for node in tree.walk()):
        out.append("smmu: the tree has an IOMMU, which Microkit does not set up")
    return out


def _usb(tree: Tree) -> list[str]:
    """What each USB controller brings along, or why it cannot be passed through."""
    out = []
    for node in tree.walk():
        if is_usb_controller(node.name) and registers(node):
            try:
                found = dependency_closure(tree, [node.path], "server").summary()
            except DescriptionError as error:
                found = f"{node.name}: {error.message}"
            out.append(found + ("" if node.enabled else "  (disabled in the tree)"))
    return out
