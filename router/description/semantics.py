# SPDX-License-Identifier: BSD-2-Clause
"""What one field alone cannot tell: the rules that hold across the fields of a description.

Each check takes what could be read and yields findings; none does I/O. Rules about the board's devices need its device
tree and stand in `router.plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from router.description import semantics_disks, semantics_guests, semantics_network, semantics_transport, semantics_usb
from router.description.parts import Finding, Parts

CHECKS: tuple[Callable[[Parts], Iterator[Finding]], ...] = (
    semantics_guests.board,
    semantics_guests.microkit,
    semantics_guests.names,
    semantics_guests.images,
    semantics_guests.memory,
    semantics_guests.scheduling,
    semantics_guests.firmware_calls,
    semantics_guests.passthrough,
    semantics_guests.usb_controllers,
    semantics_guests.automount,
    semantics_guests.roots,
    semantics_network.subnet,
    semantics_network.queues,
    semantics_network.addresses,
    semantics_network.ethernet_addresses,
    semantics_network.allow_rules,
    semantics_transport.fields_of_ethernet,
    semantics_transport.rules,
    semantics_transport.disks,
    semantics_usb.matches,
    semantics_usb.trust,
    semantics_usb.receivers,
    semantics_usb.owners,
    semantics_usb.ports,
    semantics_usb.duplicates,
    semantics_usb.conversations,
    semantics_disks.blocks,
    semantics_disks.disk_ports,
    semantics_disks.names,
    semantics_disks.waits,
    semantics_disks.matches,
)


def check(parts: Parts) -> Iterator[Finding]:
    """All findings, in no particular order."""
    for one in CHECKS:
        yield from one(parts)
