# SPDX-License-Identifier: BSD-2-Clause
"""What `router usb` prints: tables for people, plain values for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from router.display import safe
from router.usb.actions import candidates, why_not
from router.usb.facts import SPEEDS, BlockDisk, Controller, Device, Port, Snapshot

EVENTS = (
    "listening",
    "exported",
    "withdrawn",
    "attached",
    "detached",
    "disk",
    "disk-ready",
    "disk-news",
    "no-disk",
    "mounted",
    "unmounted",
    "not-mounted",
    "plugged",
    "unplugged",
)
"""Events about USB; `router usb watch --all` shows the others too."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns as wide as they need to be; the last one is not padded."""
    shown = [[safe(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[n]) for row in shown) for n in range(len(head))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]


def rule_of(device: Device) -> str:
    """The rule that gives the device away, in the words of the policy without the client's address."""
    grant = next(iter(device.grants.values()), None)
    if grant is None:
        return "-"
    return "router usb attach" if grant.at_run_time else " ".join(grant.words.split()[2:])


def list_rows(seen: Snapshot) -> list[dict[str, Any]]:
    """The devices as plain values."""
    rows = []
    for device in seen.devices:
        port = seen.place_of(device)
        rows.append(
            {
                "guest": device.server,
                "busid": device.busid,
                "device": device.vidpid,
                "name": device.name,
                "serial": device.serial,
                "speed": SPEEDS[device.speed] if device.speed < len(SPEEDS) else SPEEDS[0],
                "class": list(device.triple),
                "interfaces": [list(triple) for triple in device.interfaces],
                "granted": list(device.grants),
                "rule": rule_of(device) if device.grants else None,
                "holder": device.holder,
                "port": port.number if port else None,
                "road": "usb" if device.disk is None else "block",
                "disk": device.disk,
                "parts": [
                    {"holder": part.guest if part.exported else None, "to": part.guest, "disk": part.disk}
                    for part in device.parts
                ],
            }
        )
    return rows


def list_lines(seen: Snapshot) -> list[str]:
    """The devices, one a line."""
    rows = []
    for device, row in zip(seen.devices, list_rows(seen), strict=True):
        held = f"{row['holder']}, port {row['port']}" if row["holder"] and row["port"] else row["holder"] or "-"
        held = device.held or held
        granted = ", ".join(row["granted"]) or "-"
        rows.append(
            [row["guest"], row["busid"], row["device"], row["name"], row["speed"], granted, row["rule"] or "-", held]
        )
    return table(("SERVER", "BUSID", "DEVICE", "NAME", "SPEED", "GRANTED TO", "BY", "HELD BY"), rows)


def assignable_rows(seen: Snapshot) -> list[dict[str, Any]]:
    """The devices that no guest has, and why, as plain values."""
    return [
        {
            "guest": device.server,
            "busid": device.busid,
            "device": device.vidpid,
            "name": device.name,
            "granted": list(device.grants),
            "why": why_not(seen, device),
            "guests": candidates(seen, device),
        }
        for device in seen.devices
        if device.holder is None
    ]


def assignable_lines(seen: Snapshot) -> list[str]:
    """The devices that no guest has, one a line."""
    rows = [
        [row["guest"], row["busid"], row["device"], row["name"], ", ".join(row["guests"]) or "-", row["why"]]
        for row in assignable_rows(seen)
    ]
    return table(("SERVER", "BUSID", "DEVICE", "NAME", "CAN GO TO", "WHY IT IS IN NO GUEST"), rows)


def reservations(seen: Snapshot, guest: str) -> dict[tuple[str, int], str]:
    """The ports of a guest that rules keep for devices which are not there now: busids by (hub, port)."""
    found = {}
    for device in seen.devices:
        grant = device.grants.get(guest)
        if grant is not None and grant.port and device.holder is None:
            found[device.hub, grant.port] = device.busid
    return found


def port_row(port: Port) -> dict[str, Any]:
    """A port as plain values."""
    return {
        "guest": port.guest,
        "port": port.number,
        "usb": 3 if port.hub == "ss" else 2,
        "controller": port.controller,
        "state": port.state,
        "device": None if port.device is None else asdict(port.device),
    }


def place_row(place: Port | BlockDisk) -> dict[str, Any]:
    """Where a device went, or was, as plain values."""
    return asdict(place) if isinstance(place, BlockDisk) else port_row(place)


def where(place: Port | BlockDisk) -> str:
    """What is where in a guest, in words that its name goes behind."""
    if isinstance(place, BlockDisk):
        return f"{place.block} is the disk {place.name}"
    assert place.device is not None, "of a port without a device there is nothing to say"
    return f"{place.device.name} is on port {place.number}"


def port_lines(seen: Snapshot, guest: str) -> list[str]:
    """The ports of a guest, one a line."""
    kept = reservations(seen, guest)
    rows = []
    for port in seen.ports[guest]:
        what = ["", "", "", ""]
        if port.device is not None:
            there = port.device
            origin = f"{there.server}/{there.busid}" if there.busid else f"{there.busnum:03d}/{there.devnum:03d}"
            ids = f"{there.vid:04x}:{there.pid:04x}" if there.vid else "?"
            what = [ids, there.name, origin, ", ".join(there.drivers)]
        elif (port.hub, port.number) in kept:
            what = ["", f"(for {kept[port.hub, port.number]})", "", ""]
        rows.append([str(port.number), "3" if port.hub == "ss" else "2", port.state, *what])
    return table(("PORT", "USB", "STATE", "DEVICE", "NAME", "FROM", "DRIVER"), rows)


def controller_lines(controllers: Sequence[Controller], ports: Sequence[Port]) -> list[str]:
    """A guest's controllers, one a line, with the ports in use of each speed; those that could be created are counted.

    A controller of USB 3 has two sets of ports, for USB 2 and for USB 3 devices, whose numbers begin at the same one.
    """
    rows = []
    for one in controllers:
        if one.present:
            mine = [port for port in ports if port.controller == one.index and port.state != "free"]
            used = {usb: [str(port.number) for port in mine if port.hub == hub] for usb, hub in ((2, "hs"), (3, "ss"))}
            shown = [f"USB {usb}: {', '.join(numbers)}" for usb, numbers in used.items() if numbers]
            rows.append([str(one.index), str(one.usb), str(one.ports), "; ".join(shown) or "-"])
    spare = sum(not one.present for one in controllers)
    lines = table(("CONTROLLER", "USB", "PORTS", "PORTS IN USE"), rows)
    return [*lines, f"{spare} more can be created"] if spare else lines


def trouble_lines(seen: Snapshot) -> list[str]:
    """The guests that did not answer, and why."""
    return [safe(f"guest '{name}' {why}") for name, why in seen.troubles.items()]
