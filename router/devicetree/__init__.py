# SPDX-License-Identifier: BSD-2-Clause
"""Device trees: reading and writing, the closure of what a pass-through device depends on, and the trees that guests
boot with.
"""

from router.devicetree.advice import BootArgument
from router.devicetree.base import base_tree
from router.devicetree.closure import (
    Closure,
    Member,
    Reason,
    dependency_closure,
    passthrough_candidates,
    passthrough_device,
)
from router.devicetree.conflicts import Conflict, conflicts
from router.devicetree.guest_tree import AddressRange, GuestGic, GuestTreeSpec, VirtioSlot, client_tree, server_tree
from router.devicetree.node import Node
from router.devicetree.resources import MmioRegion, OwnedIrq
from router.devicetree.tree import Tree

__all__ = [
    "AddressRange",
    "BootArgument",
    "Closure",
    "Conflict",
    "GuestGic",
    "GuestTreeSpec",
    "Member",
    "MmioRegion",
    "Node",
    "OwnedIrq",
    "Reason",
    "Tree",
    "VirtioSlot",
    "base_tree",
    "client_tree",
    "conflicts",
    "dependency_closure",
    "passthrough_candidates",
    "passthrough_device",
    "server_tree",
]
