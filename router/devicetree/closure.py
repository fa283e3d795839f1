# SPDX-License-Identifier: BSD-2-Clause
"""The dependency closure of pass-through devices: every node that must go to the guest with them, and because of what.

A driver that lacks a provider waits for it for ever ("deferred probe pending"), so whatever a required phandle names
is included: its provider, the providers of that one, their parents. Nothing else is: of a power controller or an
efuse only the parts that are named, of a bus only what lets it pass addresses on.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from router.devicetree.advice import BootArgument, boot_arguments
from router.devicetree.interrupts import interrupts_of, is_gic, is_transparent
from router.devicetree.nature import is_bus, is_emulated, is_non_device, masters_bus
from router.devicetree.node import Node
from router.devicetree.power import left_alone, switches, taken_along
from router.devicetree.references import Need, references
from router.devicetree.resources import MmioRegion, OwnedIrq, irqs, mmio_regions
from router.devicetree.tree import Tree
from router.errors import DescriptionError

MemberKind = Literal["device", "part", "bus", "data"]
PARENT, CHILD, LOOKUP, ALWAYS_ON = "parent", "child", "compatible", "regulator-always-on"

# Drivers that find another node by its compatible string instead of a phandle (Linux: of_find_compatible_node and
# syscon_regmap_lookup_by_compatible in clk-imx8m*.c, pci-imx6.c).
LOOKED_UP = {
    "fsl,imx8mq-ccm": ("fsl,imx8mq-anatop",),
    "fsl,imx8mm-ccm": ("fsl,imx8mm-anatop",),
    "fsl,imx8mn-ccm": ("fsl,imx8mn-anatop",),
    "fsl,imx8mp-ccm": ("fsl,imx8mp-anatop",),
    "fsl,imx8mq-pcie": ("fsl,imx8mq-iomuxc-gpr",),
}
_USB_CONTROLLER = re.compile(r"(usb[0-9]*|dwc3|usb-controller)(@.*)?")


def is_usb_controller(name: str) -> bool:
    """Whether a node of this name is a USB controller (Devicetree Specification 0.4, 2.2.2: `usb`; vendors differ)."""
    return _USB_CONTROLLER.fullmatch(name) is not None


@dataclass(frozen=True)
class Reason:
    """A node came in because of `property` of `node` (a path); `parent`, `child` and `compatible` are relations of
    that name, `regulator-always-on` a property of the node that came in.
    """

    node: str
    property: str


@dataclass(frozen=True)
class Member:
    """A node of the closure. `because` is in order of discovery and empty for a device that the user chose.

    kind: 'device' has registers or interrupts, 'part' belongs to a device, 'bus' passes addresses on, 'data' is
    neither.
    """

    path: str
    because: tuple[Reason, ...]
    kind: MemberKind
    dma: bool
    compatible: tuple[str, ...]
    behind_iommu: bool = False
    """The tree names an IOMMU for the memory accesses of a device with `dma`."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Closure:
    """All that goes to one guest. Paths are full paths in the base tree; notes are sentences for people, of which
    `warnings` are those that whoever builds the system must read.
    """

    guest: str
    selected: tuple[str, ...]
    members: tuple[Member, ...]
    regions: tuple[MmioRegion, ...]
    irqs: tuple[OwnedIrq, ...]
    notes: tuple[str, ...]
    bootargs: tuple[BootArgument, ...]
    warnings: tuple[str, ...] = ()

    @property
    def unnamed_switches(self) -> tuple[str, ...]:
        """The paths of the regulators that came with a USB controller though no node names them."""
        return tuple(m.path for m in self.members if m.because and m.because[0].property == ALWAYS_ON)

    @property
    def dma(self) -> bool:
        """A member can master the bus, so the guest's RAM must be identity mapped where there is no IOMMU."""
        return any(member.dma for member in self.members)

    @property
    def unguarded(self) -> tuple[str, ...]:
        """Names of the members that read and write memory with no IOMMU in between."""
        return tuple(member.name for member in self.members if member.dma and not member.behind_iommu)

    def member(self, path: str) -> Member | None:
        return next((member for member in self.members if member.path == path), None)

    def chain(self, path: str) -> tuple[Reason, ...]:
        """The steps from a chosen device to `path`: each names a node and the property that led on from it. Empty for
        a chosen one.
        """
        by_path = {member.path: member for member in self.members}
        steps: list[Reason] = []
        here = by_path[path]
        while here.because:
            steps.append(here.because[0])
            here = by_path[here.because[0].node]
        return tuple(reversed(steps))

    def chain_text(self, path: str) -> str:
        """`usb@38100000 → usb-phy@381f0040 (phys) → clock-controller@30380000 (clocks)`."""
        steps = self.chain(path)
        names = [step.node for step in steps[1:]] + [path]
        start = steps[0].node if steps else path
        links = [f"{_name(name)} ({step.property})" for name, step in zip(names, steps, strict=True)] if steps else []
        return " → ".join([_name(start), *links])

    def summary(self) -> str:
        """One line: the beginning of the chain, and how much came in."""
        if not self.members:
            return "no pass-through device"
        devices = [member for member in self.members if member.kind == "device"]
        deepest = max(devices or self.members, key=lambda member: len(self.chain(member.path)))
        counts = (_count(len(self.members), "node"), _count(len(self.regions), "map"), _count(len(self.irqs), "IRQ"))
        return f"{self.chain_text(deepest.path)} → … {', '.join(counts)}"

    def tree_lines(self) -> tuple[str, ...]:
        """What came in, each below what brought it in and with the property that did; plain buses are left out."""
        below: dict[str, list[Member]] = {}
        shown = {member.path for member in self.members if member.kind != "bus"}
        for member in self.members:
            if member.because and member.path in shown:
                below.setdefault(member.because[0].node, []).append(member)
        lines: list[str] = []

        def show(member: Member, indent: str, branch: str, inner: str) -> None:
            why = f" ({member.because[0].property})" if member.because else ""
            lines.append(f"{indent}{branch}{member.name}{why}")
            children = below.get(member.path, [])
            for child in children:
                last = child is children[-1]
                show(child, indent + inner, "└─ " if last else "├─ ", "   " if last else "│  ")

        for member in self.members:
            reached_from_bus = bool(member.because) and member.because[0].node not in shown
            if member.path in shown and (not member.because or reached_from_bus):
                show(member, "", "", "")
        return tuple(lines)


def dependency_closure(
    base: Tree, selected: Sequence[str], guest: str, switched: Mapping[str, str] | None = None
) -> Closure:
    """Follows what the selected nodes (paths, labels, aliases or names) depend on; `base` is not changed.

    switched: the guests that have an unnamed switch of USB power already, by the switch's path.

    Raises DescriptionError for a reference that names no node, or one that cannot be given to a guest, and for a tree
    whose required phandles lead nowhere.
    """
    walk = _Walk(base)
    roots = [passthrough_device(base, reference) for reference in selected]
    for node in roots:
        walk.add(node, None, whole=True)
    walk.run()
    warnings = _add_switches(base, walk, switched or {})
    nodes = [base.node(path) for path in walk.reasons]
    members = tuple(
        Member(
            node.path,
            tuple(walk.reasons[node.path]),
            _kind(base, node),
            masters_bus(node),
            node.compatible,
            "iommus" in node or "iommu-map" in node,
        )
        for node in nodes
    )
    regions, widened = mmio_regions(base, nodes)
    lines, private = irqs(base, nodes)
    return Closure(
        guest=guest,
        selected=tuple(dict.fromkeys(node.path for node in roots)),
        members=members,
        regions=regions,
        irqs=lines,
        notes=(*walk.notes, *_left_out(base, nodes), *widened, *private),
        bootargs=boot_arguments(base, nodes),
        warnings=warnings,
    )


def passthrough_device(tree: Tree, reference: str) -> Node:
    """The node that a reference (see Tree.resolve) names, if it can go to a guest.

    Raises DescriptionError, without a place, when there is no such node, or it is the VMM's, or no device.
    """
    node = tree.resolve(reference)
    if is_emulated(node):
        raise DescriptionError(
            f"'{reference}' cannot be passed through: every guest gets its own from its VMM",
            "leave it out: the guest has one already",
        )
    if is_bus(node) or is_non_device(node):
        raise DescriptionError(
            f"'{reference}' is not a device and cannot be passed through",
            "name the devices on it; `router board` lists them",
        )
    return node


def passthrough_candidates(tree: Tree) -> tuple[str, ...]:
    """The paths of the nodes that can be passed through: devices with registers that the VMM does not emulate."""
    found = []
    for node in tree.walk():
        if "compatible" in node and not is_bus(node) and not is_non_device(node) and not is_emulated(node):
            regions, _ = mmio_regions(tree, [node])
            if regions:
                found.append(node.path)
    return tuple(found)


class _Walk:
    """Breadth first, so that the first reason of each node is a shortest one."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.reasons: dict[str, list[Reason]] = {}
        self.notes: list[str] = []
        self._chosen: set[str] = set()
        self._whole: set[str] = set()
        self._queue: deque[tuple[Node, bool]] = deque()

    def add(self, node: Node, because: Reason | None, whole: bool) -> None:
        if node.parent is None or is_emulated(node):
            return
        path = node.path
        first = path not in self.reasons
        reasons = self.reasons.setdefault(path, [])
        if because is None:
            self._chosen.add(path)
        elif path not in self._chosen and because not in reasons:
            reasons.append(because)
        if first and not node.enabled:
            self.notes.append(
                f"{node.name} is '{node.string('status')}' in the board's tree and switched on for the guest"
            )
        deeper = whole and path not in self._whole
        if deeper:
            self._whole.add(path)
        if first or deeper:
            self._queue.append((node, first))

    def run(self) -> None:
        while self._queue:
            node, first = self._queue.popleft()
            if first:
                self._follow(node)
            if node.path in self._whole:
                for child in node.children.values():
                    if child.enabled:
                        self.add(child, Reason(node.path, CHILD), whole=True)

    def _follow(self, node: Node) -> None:
        path, bus = node.path, is_bus(node)
        for reference in references(self.tree, node):
            kind = reference.kind
            if kind.need is Need.OPTIONAL or (bus and not kind.hardware):
                continue
            if reference.target is None:
                raise node.malformed(reference.name, f"points to no usable node (phandle {reference.handle:#x})")
            self.add(reference.target, Reason(path, reference.name), whole=kind.whole)
        if not bus:
            self._follow_interrupts(node)
            if "gpio-controller" in node:  # its driver sets hogs, such as a hub's reset, while it starts
                for child in node.children.values():
                    if "gpio-hog" in child and child.enabled:
                        self.add(child, Reason(path, CHILD), whole=False)
            for name in node.compatible:
                for target in self.tree.compatible_with(*LOOKED_UP.get(name, ())):
                    self.add(target, Reason(path, LOOKUP), whole=False)
        if node.parent is not None:
            self.add(node.parent, Reason(path, PARENT), whole=False)

    def _follow_interrupts(self, node: Node) -> None:
        for interrupt in interrupts_of(self.tree, node):
            if not is_gic(interrupt.controller) and not is_transparent(interrupt.controller):
                self.add(interrupt.controller, Reason(node.path, interrupt.what), whole=False)


def _add_switches(tree: Tree, walk: _Walk, switched: Mapping[str, str]) -> tuple[str, ...]:
    """Adds the switches of USB power that no phandle leads to, for a guest with a USB controller; sentences about these
    and about the switches that no guest operates.
    """
    controllers = [path for path in walk.reasons if is_usb_controller(_name(path))]
    said = []
    for switch in switches(tree):
        path = switch.node.path
        if path in walk.reasons or (switch.named and not (switch.usb and switch.always_on)):
            continue
        if switch.usb and switch.always_on and controllers and path not in switched:
            walk.add(switch.node, Reason(controllers[0], ALWAYS_ON), whole=False)
            walk.run()
            said.append(taken_along(tree, switch, _name(controllers[0])))
        elif controllers or not switch.usb:
            said.append(left_alone(tree, switch, switched.get(path)))
    return tuple(said)


def _left_out(tree: Tree, owned: Sequence[Node]) -> tuple[str, ...]:
    """Properties that the guest's tree will lack, because the guest does not have what they refer to."""
    paths = {node.path for node in owned}
    notes = [
        f"{node.name}: '{reference.name}' is left out: the guest does not have {reference.target.name}"
        for node in owned
        for reference in references(tree, node)
        if reference.target is not None and reference.target.path not in paths and not is_emulated(reference.target)
    ]
    return tuple(dict.fromkeys(notes))


def _kind(tree: Tree, node: Node) -> MemberKind:
    if is_bus(node):
        return "bus"
    if mmio_regions(tree, [node])[0] or "interrupts" in node or "interrupts-extended" in node:
        return "device"
    inside = any(not is_bus(above) for above in node.ancestors())
    return "part" if inside else "data"


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
