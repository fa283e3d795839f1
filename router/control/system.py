"""What a running system offers to those who control it, whatever it runs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

from router.machines.qemu.usb import UsbPlug
from router.machines.timeline import Timeline
from router.plan.models import SystemPlan

MILESTONES = 50
"""So many of a guest's last milestones are told."""


class Sockets(Protocol):
    """Emulated USB sockets of the guest that owns the controller. Any thread may use them."""

    def plugged(self) -> list[UsbPlug]:
        """What is plugged in."""
        ...

    def plug(self, text: str) -> UsbPlug:
        """Plug `KIND[:ARGUMENT]` in; DescriptionError or MachineError when that cannot be."""
        ...

    def unplug(self, socket: int) -> UsbPlug:
        """Pull out what is in the socket; DescriptionError when there is nothing."""
        ...


class RunningSystem(Protocol):
    """A system that runs. Any thread may call its methods."""

    @property
    def plan(self) -> SystemPlan:
        """What was decided about it."""
        ...

    @property
    def timeline(self) -> Timeline:
        """What has happened so far."""
        ...

    @property
    def usb(self) -> Sockets | None:
        """Where emulated devices can be plugged in, or None."""
        ...

    def pump(self) -> None:
        """Bring the time line up to date without waiting."""
        ...

    def execute(
        self,
        guest: str,
        command: str,
        timeout: float,
        on_output: Callable[[bytes], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> tuple[int, bytes]:
        """Run a shell command in a guest, one at a time in each: exit code and output.

        MachineError after `timeout` seconds, waiting for other commands included, or once `cancelled` says so.
        """
        ...


def state(system: RunningSystem, how: str, pid: int) -> dict[str, Any]:
    """The answer to the request `state`: docs/reference/control.md has the fields."""
    plan, timeline = system.plan, system.timeline
    names = [port.guest for port in plan.vswitch.ports]
    sockets = system.usb
    return {
        "system": plan.name,
        "board": plan.board.name,
        "how": how,
        "pid": pid,
        "seconds": round(timeline.elapsed(), 2),
        "guests": [
            {
                "name": guest.name,
                "role": guest.role,
                "address": str(guest.address),
                "usb": {"version": guest.usb_version, "ports": guest.usb_ports},
                "up": bool(timeline.seen(guest.name, "userspace")),
                "milestones": [
                    {"seconds": event.seconds, "event": event.name, "detail": event.detail}
                    for event in list(timeline.events)
                    if event.guest == guest.name
                ][-MILESTONES:],
            }
            for guest in plan.guests
        ],
        "grants": [asdict(grant) for grant in plan.grants],
        "rules": [
            {
                "from": names[rule.source],
                "to": names[rule.destination],
                "protocol": rule.protocol,
                "port": rule.port,
            }
            for rule in plan.vswitch.rules
        ],
        "plugged": None if sockets is None else [plugged(plug) for plug in sockets.plugged()],
    }


def plugged(plug: UsbPlug) -> dict[str, Any]:
    """A plug as plain values; `path` is where the server's Linux should see it."""
    argument = None if plug.argument is None else str(plug.argument)
    return {"socket": plug.socket, "kind": plug.kind, "argument": argument, "path": plug.path}
