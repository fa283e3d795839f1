# SPDX-License-Identifier: BSD-2-Clause
"""What a guest owns of the board, taken from the device tree's dependency closure."""

from __future__ import annotations

from router.boards.model import Range
from router.devicetree import Closure, Member
from router.plan.models import DeviceIrq, DeviceRegion, Passthrough

ECAM = ("pci-host-ecam-generic",)
"""Host bridges with the configuration space at their first address, as the PCI Express specification lays it out."""


def has_ecam(member: Member) -> bool:
    """Whether a device is a PCI host bridge whose configuration space lies flat in memory."""
    return any(name in ECAM for name in member.compatible)


def ecam_addresses(closure: Closure) -> set[int]:
    """Where configuration spaces begin: a unit address is the node's first address (Devicetree Specification 2.2.1)."""
    return {int(member.name.rpartition("@")[2], 16) for member in closure.members if has_ecam(member)}


def passthrough(closure: Closure) -> Passthrough:
    """The closure's regions, interrupts and kernel arguments as the plan's models."""
    return Passthrough(
        selected=closure.selected,
        nodes=tuple(member.path for member in closure.members),
        regions=tuple(
            DeviceRegion(
                name=region.name,
                range=Range(region.base, region.size),
                why=", ".join(node.rsplit("/", 1)[-1] for node in region.nodes),
            )
            for region in closure.regions
        ),
        irqs=tuple(DeviceIrq(irq.intid, irq.trigger == "edge", irq.node) for irq in closure.irqs),
        dma=closure.dma,
        config_spaces=tuple(
            Range(region.base, region.size) for region in closure.regions if region.base in ecam_addresses(closure)
        ),
        unstoppable=tuple(member.name for member in closure.members if member.dma and not has_ecam(member)),
        bootargs=tuple(advice.argument for advice in closure.bootargs),
        notes=closure.warnings,
    )
