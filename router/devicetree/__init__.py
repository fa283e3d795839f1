"""Device trees: reading and writing, the closure of what a pass-through device depends on, and the trees that guests
boot with.
"""

from router.devicetree.advice import Advice
from router.devicetree.base import base_tree
from router.devicetree.closure import (
    Because,
    Closure,
    Member,
    dependency_closure,
    passthrough_candidates,
    passthrough_device,
)
from router.devicetree.conflicts import Conflict, conflicts
from router.devicetree.guest_tree import Gic, GuestTreeSpec, Span, VirtioSlot, client_tree, server_tree
from router.devicetree.node import Node
from router.devicetree.resources import Irq, MmioRegion
from router.devicetree.tree import Tree

__all__ = [
    "Advice",
    "Because",
    "Closure",
    "Conflict",
    "Gic",
    "GuestTreeSpec",
    "Irq",
    "Member",
    "MmioRegion",
    "Node",
    "Span",
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
