# SPDX-License-Identifier: BSD-2-Clause
"""Finds the guest, device or port that a person named; an unknown name is an error that lists the known ones."""

from __future__ import annotations

import re
from collections.abc import Sequence

from router.errors import DescriptionError, MachineError
from router.usb.facts import Device, Guest, Port, Snapshot
from router.words import did_you_mean


def guest(seen: Snapshot, name: str, role: str | None = None) -> Guest:
    """The guest of that name; DescriptionError when there is none, or when it plays another role."""
    found = seen.guests.get(name)
    fitting = [one.name for one in seen.guests.values() if role in (None, one.role)]
    if found is None:
        hint = did_you_mean(name, fitting) or f"guests: {', '.join(fitting)}"
        raise DescriptionError(f"no guest '{name}'", hint=hint)
    if role is not None and found.role != role:
        uses = "uses no devices of other guests" if role == "client" else "exports no devices"
        raise DescriptionError(f"guest '{name}' {uses}", hint=f"choose one of: {', '.join(fitting) or 'none'}")
    return found


def matches(seen: Snapshot, text: str) -> list[Device]:
    """The devices that a busid, a disk's name, `vid:pid`, or part of a name or serial number fits.

    `GUEST/BUSID` is exact.
    """
    server, slash, busid = text.partition("/")
    devices = [one for one in seen.devices if one.server == server] if slash and server in seen.guests else []
    if devices:
        return [one for one in devices if one.busid == busid]
    exact = [one for one in seen.devices if text in (one.busid, one.disk)]
    if exact:
        return exact
    if re.fullmatch(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{4}", text):
        return [one for one in seen.devices if one.vidpid == text.lower()]
    return [one for one in seen.devices if text.lower() in f"{one.name} {one.serial}".lower()] if text else []


def device(seen: Snapshot, text: str) -> Device:
    """The one device of that name; DescriptionError when there is none, or several."""
    found = matches(seen, text)
    if not found:
        for name in seen.guests.values():
            if name.role == "server" and name.name in seen.troubles:
                raise MachineError(f"guest '{name.name}' {seen.troubles[name.name]}", hint="see its console log")
        known = ", ".join(f"{one.busid} ({one.name})" for one in seen.devices) or "none"
        raise DescriptionError(f"no device '{text}'", hint=f"devices: {known}")
    if len(found) > 1:
        raise DescriptionError(f"'{text}' could be {_these(seen, found)}", hint="name it by its busid")
    return found[0]


def _these(seen: Snapshot, devices: Sequence[Device]) -> str:
    several = len({one.server for one in seen.devices}) > 1
    return " or ".join(f"{f'{one.server}/' if several else ''}{one.busid} ({one.name})" for one in devices)


def used_port(seen: Snapshot, name: str, text: str) -> Port:
    """The port of a guest that a port number, or the words for a device, mean; MachineError when nothing is there."""
    used = [port for port in seen.ports.get(name, ()) if port.device is not None]
    shown = ", ".join(f"{port.number} ({port.device.name})" for port in used if port.device) or "none"
    if text.isdecimal():
        found = [port for port in used if port.number == int(text)]
        if len(found) > 1:
            raise DescriptionError(
                f"both a USB 2 and a USB 3 device are on port {text} of '{name}'", hint="name the device instead"
            )
        if not found:
            raise MachineError(f"nothing is attached to port {text} of '{name}'", hint=f"ports in use: {shown}")
        return found[0]
    fitting = matches(seen, text)
    for port in used:
        if any(seen.place_of(one) == port for one in fitting):
            return port
    if not fitting:
        device(seen, text)
    holders = {one.busid: one.holder for one in fitting if one.holder}
    where = ", ".join(f"{busid} is held by '{holder}'" for busid, holder in holders.items())
    raise MachineError(f"'{name}' does not have '{text}'", hint=where or f"ports in use: {shown}")
