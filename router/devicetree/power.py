# SPDX-License-Identifier: BSD-2-Clause
"""Fixed regulators that no node names: switches of a board's sockets that Linux turns on because of a flag.

A vendor often writes the switch of the USB sockets as a fixed regulator that is always on, and leaves out which port
it feeds (Linux: bindings/regulator/fixed-regulator.yaml). No phandle leads to it, so only its name says what it is for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from router.devicetree.node import Node
from router.devicetree.references import references
from router.devicetree.tree import Tree

_FIXED = "regulator-fixed"
_USB = re.compile(r"usb|vbus|otg", re.IGNORECASE)


@dataclass(frozen=True)
class Switch:
    """A fixed regulator with a GPIO. `always_on`: Linux turns it on though nothing uses it, and never off."""

    node: Node
    always_on: bool
    usb: bool
    """Its name says that it feeds USB."""
    named: bool
    """Another enabled node names it as its supply."""

    @property
    def title(self) -> str:
        """`regulator-usb1 ('usb1_pwr_en')`."""
        name = self.node.string("regulator-name")
        return self.node.name + (f" ('{name}')" if name else "")

    @property
    def level(self) -> str:
        """How the line is driven while the regulator is on. Linux ignores the GPIO's own flag here: only
        `enable-active-high` decides (Linux: of_gpio_flags_quirks in drivers/gpio/gpiolib-of.c).
        """
        return "high" if "enable-active-high" in self.node else "low"


def switches(tree: Tree) -> tuple[Switch, ...]:
    """Every enabled fixed regulator that switches a GPIO, in tree order."""
    found = [
        node
        for node in tree.walk()
        if _FIXED in node.compatible and node.enabled and ("gpio" in node or "gpios" in node)
    ]
    if not found:
        return ()
    named = {
        reference.target.path
        for node in tree.walk()
        if node.enabled
        for reference in references(tree, node)
        if reference.target is not None and reference.name.endswith("-supply")
    }
    return tuple(
        Switch(
            node,
            "regulator-always-on" in node,
            any(_USB.search(name) for name in (node.name, node.string("regulator-name") or "")),
            node.path in named,
        )
        for node in found
    )


def taken_along(tree: Tree, switch: Switch, controller: str) -> str:
    """What is said of a switch that goes to the guest of a USB controller."""
    return (
        f"{switch.title} comes with {controller}: it is always on and drives {_line(tree, switch)} {switch.level};"
        " the tree does not say which port it feeds"
    )


def left_alone(tree: Tree, switch: Switch, owner: str | None) -> str:
    """What is said of a switch that a guest does not get; `owner`: the guest that has it."""
    where = f"{_line(tree, switch)}, {switch.level} when on"
    if owner is not None:
        return f"{switch.title} ({where}) is with the guest '{owner}'; the tree does not say which port it feeds"
    why = "no node of this guest names it" if switch.always_on else "no node names it, and it is not always on"
    return f"{switch.title} ({where}) is left out: {why}, so the line stays as the boot loader leaves it"


def _line(tree: Tree, switch: Switch) -> str:
    """Where the switch's line is: `gpio@30200000 line 12`."""
    cells = switch.node.cells("gpio" if "gpio" in switch.node else "gpios")
    controller = tree.by_phandle(cells[0]) if cells else None
    where = controller.name if controller is not None else "an unknown controller"
    return f"{where} line {cells[1]}" if len(cells) > 1 else where
