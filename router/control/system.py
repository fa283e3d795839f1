# SPDX-License-Identifier: BSD-2-Clause
"""What a running system offers to those who control it, whatever it runs in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from router.control.facts import SystemFacts
from router.control.timeline import Timeline

MAX_MILESTONES = 50
"""Of one guest in the answer to `state`: the last ones."""


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
    def port(self) -> int:
        """The USB port that it is on, from 1."""
        ...

    @property
    def path(self) -> str:
        """Where the server's Linux should see it: `1-1`."""
        ...


class UsbPorts(Protocol):
    """Emulated USB ports of the guest that owns the controller. Any thread may use them."""

    def plugged(self) -> Sequence[Plug]:
        """What is plugged in."""
        ...

    def plug(self, text: str) -> Plug:
        """Plug `KIND[:ARGUMENT]` in; DescriptionError or MachineError when that cannot be."""
        ...

    def unplug(self, port: int) -> Plug:
        """Pull out what is on the USB port; DescriptionError when there is nothing."""
        ...


MAX_OUTPUT = 64 << 20
"""Bytes of a command's output that are kept for a caller who wants it as a whole: listings and logs take some MiB at
most, and a guest can print for as long as the command may run."""


BUSY = "is busy with another command"
"""In the error of `execute` when the guest's turn did not come in time."""


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
    def usb(self) -> UsbPorts | None:
        """Where emulated devices can be plugged in, or None."""
        ...

    def switch_counters(self) -> dict[str, dict[str, Any]] | None:
        """The switch's counters by guest (the fields of `router.vswitch.PortCounters`); None where nothing tells them.

        MachineError when the switch or the console does not answer.
        """
        ...

    def pump(self) -> bool:
        """Bring the time line up to date without waiting; True when there may be more for it."""
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
        """Show a guest's console as a person who types there needs it; None: nobody types any more."""
        ...


def state(system: RunningSystem, mode: str, pid: int) -> dict[str, Any]:
    """The answer to the request `state`: docs/reference/control.md has the fields."""
    facts, timeline = system.facts, system.timeline
    ports = system.usb
    return {
        "system": facts.system,
        "board": facts.board,
        "mode": mode,
        "pid": pid,
        "seconds": round(timeline.elapsed(), 2),
        "events": len(timeline.events),
        "guests": [
            {
                "name": guest.name,
                "role": guest.role,
                "address": guest.address,
                "usb": {"version": guest.usb_version, "ports": guest.usb_ports},
                "up": bool(timeline.seen(guest.name, "userspace")),
                "milestones": [
                    {"seconds": event.seconds, "event": event.name, "detail": event.detail}
                    for event in timeline.last(guest.name, MAX_MILESTONES)
                ],
            }
            for guest in facts.guests
        ],
        "grants": list(facts.grants),
        "rules": list(facts.rules),
        "plugged": None if ports is None else [plugged(plug) for plug in ports.plugged()],
    }


def plugged(plug: Plug) -> dict[str, Any]:
    """A plug as plain values; `path` is where the server's Linux should see it."""
    argument = None if plug.argument is None else str(plug.argument)
    return {"port": plug.port, "kind": plug.kind, "argument": argument, "path": plug.path}
