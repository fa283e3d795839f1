# SPDX-License-Identifier: BSD-2-Clause
"""Asks the guests of a running system, all at once, what there is of USB."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

from router.errors import MachineError, RouterError
from router.usb.answers import controllers_of, devices_of, disks_of, parse, ports_of
from router.usb.facts import UNKNOWN, BlockDisk, Controller, Device, Guest, Port, Snapshot, guests_of, reaches_of

PATIENCE = 30.0
"""Seconds that a guest may take to answer: an emulated one that boots beside others takes some."""


class Guests(Protocol):
    """A connection to a running system."""

    def state(self) -> dict[str, Any]:
        """The answer to `state`."""
        ...

    def execute(
        self, guest: str, command: str, timeout: float = 60.0, on_output: Callable[[bytes], None] | None = None
    ) -> tuple[int, bytes]:
        """Run a command in a guest."""
        ...


Connect = Callable[[], AbstractContextManager[Guests]]
"""Opens a connection; each thread has one of its own."""


def program(guests: Guests, guest: str, *words: str, timeout: float = PATIENCE) -> bytes:
    """The output of the guest's USB/IP program. MachineError with its own message when it fails."""
    code, output = guests.execute(guest, f"router-usbip {shlex.join(words)}", timeout)
    if code:
        raise failure(guest, code, output)
    return output


def failure(guest: str, code: int, output: bytes) -> MachineError:
    """The error that a program printed (`error: MESSAGE`, and a line with the hint), raised here."""
    lines = output.decode(errors="replace").strip().splitlines() or [f"exit code {code}"]
    at = next((n for n, line in enumerate(lines) if "error: " in line), len(lines) - 1)
    place, _, message = lines[at].rpartition("error: ")
    hint = lines[at + 1].strip() if at + 1 < len(lines) else None
    return MachineError(message, hint=hint, where=f"{guest}: {place.rstrip(': ')}".removesuffix(": "))


def snapshot(connect: Connect, only: Collection[str] | None = None) -> Snapshot:
    """What there is, in the guests of these names (None: all). A guest that does not answer is among the troubles."""
    with connect() as guests:
        state = guests.state()
    everybody = guests_of(state)
    addresses = {guest.address: guest.name for guest in everybody.values()}
    asked = [
        guest
        for guest in everybody.values()
        if guest.role in ("server", "client") and (only is None or guest.name in only)
    ]
    troubles: dict[str, str] = {}
    devices: list[Device] = []
    ports: dict[str, tuple[Port, ...]] = {}
    controllers: dict[str, tuple[Controller, ...]] = {}
    disks: dict[str, tuple[BlockDisk, ...]] = {}
    with ThreadPoolExecutor(max_workers=8) as pool:
        pending = {guest.name: pool.submit(ask, connect, guest) for guest in asked}
        for name, future in pending.items():
            try:
                rows = future.result()
                if everybody[name].role == "server":
                    devices += devices_of(name, rows, addresses)
                else:
                    ports[name], controllers[name] = ports_of(name, rows, addresses), controllers_of(name, rows)
                    disks[name] = disks_of(name, rows)
            except RouterError as error:
                troubles[name] = error.message
    seen = Snapshot(
        system=state["system"],
        guests=everybody,
        reaches=reaches_of(state),
        devices=tuple(devices),
        ports=ports,
        controllers=controllers,
        disks=disks,
        troubles=troubles,
    )
    return replace(seen, devices=tuple(with_holder(seen, device) for device in seen.devices))


def with_holder(seen: Snapshot, device: Device) -> Device:
    """The device with the guest that has it, also where the server does not know (its daemon was restarted, say).

    Then the guests' own words count, if all of them have answered and just one says that it has the device.
    """
    clients = {guest.name for guest in seen.with_role("client")}
    if device.holder not in (None, UNKNOWN) or clients & seen.troubles.keys():
        return device
    claims = [name for name in seen.ports if seen.place_of(replace(device, holder=name)) is not None]
    return replace(device, holder=claims[0]) if len(claims) == 1 else device


def ask(connect: Connect, guest: Guest) -> dict[str, Any]:
    """What one guest's program tells, as it prints it."""
    if not guest.up:
        raise MachineError("is not up yet", where=guest.name)
    with connect() as guests:
        verb = "status" if guest.role == "server" else "ports"
        return parse(guest.name, program(guests, guest.name, verb, "--json"))
