"""What a running system offers to those who control it, whatever it runs in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from router.control.facts import SystemFacts
from router.control.timeline import Timeline

MILESTONES = 50
"""So many of a guest's last milestones are told."""


class Plug(Protocol):
    """An emulated USB device that is plugged in."""

    @property
    def kind(self) -> str:
        """Which device: a name that `plug` takes."""
        ...

    @property
    def argument(self) -> Path | None:
        """Its file or socket, where its kind takes one."""
        ...

    @property
    def socket(self) -> int:
        """The socket that it is in, from 1."""
        ...

    @property
    def path(self) -> str:
        """Where the server's Linux should see it: `1-1`."""
        ...


class Sockets(Protocol):
    """Emulated USB sockets of the guest that owns the controller. Any thread may use them."""

    def plugged(self) -> Sequence[Plug]:
        """What is plugged in."""
        ...

    def plug(self, text: str) -> Plug:
        """Plug `KIND[:ARGUMENT]` in; DescriptionError or MachineError when that cannot be."""
        ...

    def unplug(self, socket: int) -> Plug:
        """Pull out what is in the socket; DescriptionError when there is nothing."""
        ...


MAX_OUTPUT = 64 << 20
"""Bytes of a command's output that are kept for a caller who wants it as a whole: listings and logs take some MiB at
most, and a guest can print for as long as the command may run."""


class RunningSystem(Protocol):
    """A system that runs. Any thread may call its methods."""

    @property
    def facts(self) -> SystemFacts:
        """What it consists of."""
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

    def listen(self, guest: str, echo: Callable[[bytes], None]) -> None:
        """Hand every byte of a guest's console to `echo` as well, from another thread, until `unlisten`."""
        ...

    def unlisten(self, guest: str, echo: Callable[[bytes], None]) -> None:
        """End that."""
        ...

    def type_in(self, guest: str, data: bytes) -> None:
        """Type into a guest's console."""
        ...

    def give_keyboard(self, guest: str | None) -> None:
        """Show a guest's console as somebody who types there needs it; None: nobody types any more."""
        ...


def state(system: RunningSystem, how: str, pid: int) -> dict[str, Any]:
    """The answer to the request `state`: docs/reference/control.md has the fields."""
    facts, timeline = system.facts, system.timeline
    sockets = system.usb
    return {
        "system": facts.system,
        "board": facts.board,
        "how": how,
        "pid": pid,
        "seconds": round(timeline.elapsed(), 2),
        "guests": [
            {
                "name": guest.name,
                "role": guest.role,
                "address": guest.address,
                "usb": {"version": guest.usb_version, "ports": guest.usb_ports},
                "up": bool(timeline.seen(guest.name, "userspace")),
                "milestones": [
                    {"seconds": event.seconds, "event": event.name, "detail": event.detail}
                    for event in list(timeline.events)
                    if event.guest == guest.name
                ][-MILESTONES:],
            }
            for guest in facts.guests
        ],
        "grants": list(facts.grants),
        "rules": list(facts.rules),
        "plugged": None if sockets is None else [plugged(plug) for plug in sockets.plugged()],
    }


def plugged(plug: Plug) -> dict[str, Any]:
    """A plug as plain values; `path` is where the server's Linux should see it."""
    argument = None if plug.argument is None else str(plug.argument)
    return {"socket": plug.socket, "kind": plug.kind, "argument": argument, "path": plug.path}
