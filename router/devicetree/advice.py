# SPDX-License-Identifier: BSD-2-Clause
"""Boot arguments that a guest needs because of what it owns, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from router.devicetree.address import is_pci, registers
from router.devicetree.node import Node
from router.devicetree.tree import Tree


@dataclass(frozen=True)
class BootArgument:
    """A kernel argument and why the guest needs it."""

    argument: str
    why: str


def boot_arguments(base: Tree, owned: Sequence[Node]) -> tuple[BootArgument, ...]:
    """What to add to the command line of a guest that owns these nodes of the board's tree."""
    if not owned:
        return ()
    found = []
    if any(re.fullmatch(r"fsl,imx8m[qmnp]", name) for name in base.root.compatible):
        found.append(
            BootArgument(
                "initcall_blacklist=imx8_soc_init",
                "soc-imx8m asks the firmware for the silicon revision by SIP call 0xC2000006",
            )
        )
    if any("#clock-cells" in node and registers(node) for node in owned):
        found.append(
            BootArgument(
                "clk_ignore_unused",
                "clocks that this guest does not use may run what seL4 or another guest uses, such as the console",
            )
        )
    if any("#power-domain-cells" in node for node in owned):
        found.append(
            BootArgument("pd_ignore_unused", "power domains that this guest does not use may hold what others use")
        )
    if any(is_pci(node) for node in owned):
        found.append(BootArgument("pci=nomsi", "the guest has no MSI controller; its PCI devices use INTx"))
    return tuple(found)
