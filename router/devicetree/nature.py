# SPDX-License-Identifier: BSD-2-Clause
"""What a node is: a bus, something that the VMM emulates, a device; and whether it can master the bus.

A device tree does not say which devices do DMA. Whatever is not known to leave memory alone counts as able to.
"""

from __future__ import annotations

import re

from router.devicetree.address import is_pci, registers
from router.devicetree.interrupts import is_gic
from router.devicetree.node import Node

BUSES = ("simple-bus", "simple-pm-bus", "fsl,aips-bus", "arm,amba-bus", "fsl,spba-bus")
# The VMM emulates these for every guest: it does not get the board's, and references to the GIC point to the emulated
# one.
EMULATED = (
    "arm,armv8-timer",
    "arm,armv7-timer",
    "arm,psci",
    "arm,psci-0.2",
    "arm,psci-1.0",
    "arm,gic-v3-its",
    "arm,gic-v2m-frame",
)
NOT_DEVICES = (
    "aliases",
    "chosen",
    "cpus",
    "memory",
    "reserved-memory",
    "__symbols__",
    "firmware",
    "options",
    "thermal-zones",
)

# Generic names (Devicetree Specification 0.4, 2.2.2) of what has no way to write memory, and properties of mere
# providers.
_PASSIVE_NAMES = re.compile(
    r"clock-controller|clock|efuse|gpio|gpc|gpr|i2c|interrupt-controller|mailbox|nvmem|mux-"
    r"controller|phy|pinctrl|power-controller|power-domain|pwm|reset-controller|rtc|serial|snvs|"
    r"spdif|syscon|thermal|timer|tmu|usb-phy|watchdog"
)
_PASSIVE_PROPERTIES = (
    "#clock-cells",
    "#reset-cells",
    "#phy-cells",
    "#power-domain-cells",
    "#iommu-cells",
    "gpio-controller",
    "#pwm-cells",
)


def is_bus(node: Node) -> bool:
    """A bus that only passes addresses on, or the root: no registers of its own to give to a guest."""
    if node.parent is None or any(name in BUSES for name in node.compatible):
        return True
    return "compatible" not in node and "ranges" in node


def is_emulated(node: Node) -> bool:
    """Given to the guest by its VMM: the GIC, the architected timer, PSCI, the CPUs."""
    if is_gic(node) or any(name in EMULATED for name in node.compatible):
        return True
    return _top_level(node) == "cpus"


def is_non_device(node: Node) -> bool:
    """A node that describes no device: memory, chosen, aliases, …, or is in one that does not."""
    top = _top_level(node)
    return top is None or top.partition("@")[0] in NOT_DEVICES


def _top_level(node: Node) -> str | None:
    """The name of the child of the root that a node is, or is below; None for the root."""
    chain = (node, *node.ancestors())
    return chain[-2].name if len(chain) > 1 else None


def masters_bus(node: Node) -> bool:
    """Whether the device could read and write memory on its own."""
    if is_bus(node) or not registers(node):
        return False
    if is_pci(node) or "dma-coherent" in node or "iommus" in node:
        return True
    if _PASSIVE_NAMES.fullmatch(node.base_name) or any(name in node for name in _PASSIVE_PROPERTIES):
        return False
    return "syscon" not in node.compatible
