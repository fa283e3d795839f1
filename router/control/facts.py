# SPDX-License-Identifier: BSD-2-Clause
"""What those who control a running system have to know of it: a small part of its plan, as plain values.

It travels with a deployment, so that the process that owns the board's serial line has them. Standard library only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from router.plan.models import SystemPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    """One guest. role: `server`, `client` or `none`. owns_devices: whether devices of the board are its own."""

    name: str
    role: str
    address: str
    usb_version: int
    usb_ports: int
    owns_devices: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemFacts:
    """One system. guests: in the plan's order, which the serial line's ports follow.

    grants: the fields of `router.plan.models.Grant`. rules: what the switch lets through, as `from`, `to`, `protocol`
    and `port`.
    """

    system: str
    board: str
    guests: tuple[GuestFacts, ...]
    grants: tuple[dict[str, Any], ...] = ()
    rules: tuple[dict[str, Any], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The guests' names."""
        return tuple(guest.name for guest in self.guests)


def facts_of(plan: SystemPlan) -> SystemFacts:
    """The facts of a planned system."""
    names = [port.guest for port in plan.vswitch.ports]
    return SystemFacts(
        system=plan.name,
        board=plan.board.name,
        guests=tuple(
            GuestFacts(
                name=guest.name,
                role=guest.role,
                address=guest.peer,
                usb_version=guest.usb_version,
                usb_ports=guest.usb_ports,
                owns_devices=bool(guest.passthrough.selected),
            )
            for guest in plan.guests
        ),
        grants=tuple(asdict(grant) for grant in plan.grants),
        rules=tuple(
            {
                "from": names[rule.source],
                "to": names[rule.destination],
                "protocol": rule.protocol,
                "port": rule.port,
            }
            for rule in plan.vswitch.rules
        ),
    )
