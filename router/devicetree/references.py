# SPDX-License-Identifier: BSD-2-Clause
"""Which properties hold phandles, how many cells follow each, and whether the guest needs what they point to.

The names and argument counts are those of the bindings in Linux (Documentation/devicetree/bindings) and dt-schema.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass

from router.devicetree.node import Node
from router.devicetree.tree import Tree


class Need(enum.Enum):
    """Whether a device works without what the property points to."""

    REQUIRED = "its driver waits for the provider: the guest needs it too"
    OPTIONAL = "the device works without it: the property is removed if the guest does not have the provider"


@dataclass(frozen=True)
class Kind:
    """A phandle-bearing property. `cells` is the provider's #…-cells property, a fixed number of arguments, or None
    for one phandle with nothing but arguments after it.

    `whole`: the provider is of no use without its sub-nodes (a table of operating points, an Ethernet PHY).
    `hardware`: a bus needs it too, to let anything through (its clock, its power domain).
    """

    pattern: re.Pattern[str]
    cells: str | int | None
    need: Need = Need.REQUIRED
    whole: bool = False
    hardware: bool = False


@dataclass(frozen=True)
class Reference:
    """One phandle in a property: `target` is None when it points to no node."""

    name: str
    target: Node | None
    handle: int
    kind: Kind


def _kind(
    pattern: str, cells: str | int | None, need: Need = Need.REQUIRED, whole: bool = False, hardware: bool = False
) -> Kind:
    return Kind(re.compile(pattern), cells, need, whole, hardware)


_OPTIONAL = Need.OPTIONAL
KINDS = (
    _kind(r"clocks|assigned-clocks|assigned-clock-parents", "#clock-cells", hardware=True),
    _kind(r"phys", "#phy-cells"),
    _kind(r"power-domains", "#power-domain-cells", hardware=True),
    _kind(r"pinctrl-\d+", 0),
    _kind(r"nvmem-cells", "#nvmem-cell-cells"),
    _kind(r"nvmem", 0),
    _kind(r"resets", "#reset-cells", hardware=True),
    _kind(r".+-supply", 0, hardware=True),
    _kind(r"power-supplies", 0),
    _kind(r"monitored-battery", 0, whole=True),
    _kind(r"(.+-)?gpios?", "#gpio-cells"),
    _kind(r"gpio-ranges", 3),
    _kind(r"dmas", "#dma-cells"),
    _kind(r"iommus", "#iommu-cells", hardware=True),
    _kind(r"mboxes", "#mbox-cells"),
    _kind(r"io-channels", "#io-channel-cells"),
    _kind(r"hwlocks", "#hwlock-cells"),
    _kind(r"pwms", "#pwm-cells"),
    _kind(r"mux-controls|mux-states", "#mux-control-cells"),
    _kind(r"sound-dai", "#sound-dai-cells"),
    _kind(r"access-controllers", "#access-controller-cells", _OPTIONAL),
    _kind(r"remote-endpoint|extcon|usb-role-switch|usb-phy|fsl,usbphy|phy-phandle|peer-hub|companions?", 0),
    _kind(r"fsl,usbmisc", "#index-cells"),
    _kind(r"phy-handle|phy|phy-device|pcs-handle|mmc-pwrseq", 0, whole=True),
    _kind(r"operating-points-v2|required-opps", 0, whole=True),
    _kind(
        r"regmap|syscon|.+[,-]syscon|.+,(anatop|iomuxc-gpr|gpr|grf|pmu|sysreg)|gpr|fsl,(stop-mode|mipi-phy-gpr|blk-ctrl)",
        None,
    ),
    _kind(r"spdif-controller|audio-(cpu|codec)", 0),
    _kind(r"i2c-parent|mdio-parent-bus|i2c-bus|ddc-i2c-bus|backlight|panel|bridge|spi-parent", 0),
    _kind(r"interconnects", "#interconnect-cells", _OPTIONAL),
    _kind(r"thermal-sensors", "#thermal-sensor-cells", _OPTIONAL),
    _kind(r"cooling-device", "#cooling-cells", _OPTIONAL),
    _kind(r"trigger-sources", "#trigger-source-cells", _OPTIONAL),
    _kind(r"msi-parent", "#msi-cells", _OPTIONAL),
    _kind(
        r"leds|memory-region|next-level-cache|cpu|trip|cpus|cpu-idle-states|interrupt-affinity|devfreq|fsl,ddrc",
        0,
        _OPTIONAL,
    ),
)
_MAPS = {"msi-map": "msi-parent", "iommu-map": "iommus"}  # rows of (first id, phandle, first of its ids, count)
_NAMES = {  # the list of names that goes with a list of phandles, where it is not <name>-names
    "clocks": "clock-names",
    "phys": "phy-names",
    "power-domains": "power-domain-names",
    "nvmem-cells": "nvmem-cell-names",
    "resets": "reset-names",
    "dmas": "dma-names",
    "mboxes": "mbox-names",
    "io-channels": "io-channel-names",
    "hwlocks": "hwlock-names",
    "pwms": "pwm-names",
    "mux-controls": "mux-control-names",
    "interconnects": "interconnect-names",
    "access-controllers": "access-controller-names",
    "msi-map": "msi-map-mask",
    "iommu-map": "iommu-map-mask",
}
_PATH_LISTS = ("/aliases", "/__symbols__", "/chosen")  # strings; a label may be called `gpio` or `syscon`
_ASSIGNED = ("assigned-clocks", "assigned-clock-parents", "assigned-clock-rates", "assigned-clock-rates-u64")


def kind_of(node: Node, name: str) -> Kind | None:
    """What a property of this name is, or None when it holds no phandles."""
    if (
        node.path in _PATH_LISTS
        or name.startswith("#")
        or name in ("phandle", "linux,phandle")
        or name.endswith("nr-gpios")
    ):
        return None
    if name == "gpios" and "gpio-hog" in node:
        return None  # a hog's numbers are for its parent; there is no phandle in them
    name = _MAPS.get(name, name)
    return next((kind for kind in KINDS if kind.pattern.fullmatch(name)), None)


def references(tree: Tree, node: Node) -> Iterator[Reference]:
    """Every phandle in a node's properties, except its interrupts'.

    A list that cannot be read (a provider that is missing, or without #…-cells) ends with a Reference without target.
    """
    for name in node.properties:
        kind = kind_of(node, name)
        if kind is not None and len(node.properties[name]) % 4 == 0:
            yield from _read(tree, node, name, kind)


def _read(tree: Tree, node: Node, name: str, kind: Kind) -> Iterator[Reference]:
    cells = node.cells(name)
    if name in _MAPS:
        for handle in dict.fromkeys(cells[1::4]):
            yield Reference(name, tree.by_phandle(handle), handle, kind)
        return
    at = 0
    while at < len(cells):
        handle = cells[at]
        at += 1
        if handle in (0, 0xFFFFFFFF):  # a hole in the list
            continue
        target = tree.by_phandle(handle)
        if isinstance(kind.cells, str):
            arguments = _argument_count(target, kind.cells)
        else:
            arguments = len(cells) - at if kind.cells is None else kind.cells
        if target is None or arguments is None or at + arguments > len(cells):
            yield Reference(name, None, handle, kind)
            return
        yield Reference(name, target, handle, kind)
        at += arguments


def _argument_count(target: Node | None, name: str) -> int | None:
    if target is None:
        return None
    if name in target:
        return target.count(name)
    return 0 if name == "#nvmem-cell-cells" else None  # absent means none for nvmem cells (nvmem.yaml)


def drop_property(node: Node, name: str) -> tuple[str, ...]:
    """Removes a phandle list together with what makes no sense without it; returns the names that went."""
    gone: tuple[str, ...]
    if name in _ASSIGNED:
        gone = _ASSIGNED
    elif re.fullmatch(r"pinctrl-\d+", name):
        gone = (*(other for other in node.properties if re.fullmatch(r"pinctrl-\d+", other)), "pinctrl-names")
    else:
        gone = (name, _NAMES.get(name, ""))
    return tuple(other for other in gone if node.remove_property(other))
