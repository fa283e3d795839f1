# SPDX-License-Identifier: BSD-2-Clause
"""Rules about USB: which device comes from which guest and goes to which."""

from __future__ import annotations

from collections.abc import Iterator

from router.description.models import DISK_PORT, USBIP_PORT, Road, UsbRule
from router.description.parts import Finding, Parts, transport
from router.usbip.protocol.classes import CODES, class_word
from router.words import listing, nearest


def matches(parts: Parts) -> Iterator[Finding]:
    """A rule says which devices it is about, and those can be passed on."""
    for index, rule in parts.rules.items():
        if (rule.device, rule.path, rule.serial, rule.class_, rule.only) == (None,) * 5:
            yield Finding(
                ("usb", index), "this rule matches no device", "add device, path, serial or class, such as path: 1-1"
            )
        if rule.only and rule.class_ is not None and rule.class_ not in rule.only:
            yield Finding(
                ("usb", index, "only"),
                "no device fits: its class is not among those that it may have",
                f"add {class_word(rule.class_)} to only, or remove class",
            )
        if rule.class_ == CODES["hub"]:
            yield Finding(
                ("usb", index, "class"),
                "hubs cannot be exported, only the devices behind them",
                "match those devices instead, such as path: 1-1.4",
            )


def trust(parts: Parts) -> Iterator[Finding]:
    """Only a guest that exports devices can be one whose answers are checked."""
    for name, guest in parts.guests.items():
        if guest is not None and not guest.trusted and parts.role(name) in ("client", "none"):
            yield Finding(
                ("guests", name, "trusted"),
                f"'{name}' exports no devices, so no guest depends on what it answers",
                "remove trusted, or write it at the guest that owns the USB controller",
            )


def receivers(parts: Parts) -> Iterator[Finding]:
    """Devices go to guests that exist and use USB devices."""
    clients = parts.with_role("client")
    for place, rule in parts.routes:
        role, path = parts.role(rule.to), (*place, "to")
        if rule.to not in parts.guests:
            yield unknown_guest(path, rule.to, clients or list(parts.guests))
        elif role == "server" and rule.source in (None, rule.to) and parts.with_role("server") == [rule.to]:
            yield Finding(
                path,
                f"'{rule.to}' owns the controller and already has the device",
                "remove the rule: devices without a rule stay in the server",
            )
        elif role in ("server", "none"):
            hint = f"choose {listing(clients)}" if clients else "give that guest the image usb-client"
            yield Finding(path, f"'{rule.to}' cannot receive USB devices: its image is not a client image", hint)


def owners(parts: Parts) -> Iterator[Finding]:
    """It is plain which guest a device comes from."""
    servers = parts.with_role("server")
    for place, rule in parts.routes:
        path = (*place, "from")
        if rule.source is None:
            if not servers and parts.sure:
                yield Finding(
                    place,
                    "no guest owns a USB controller to take this device from",
                    "add a guest with image: usb-server and passthrough: [NODE]",
                )
            elif len(servers) > 1:
                yield Finding(
                    place,
                    f"{listing(map(repr, servers), 'and')} export devices: the rule must say which one has this device",
                    f"add 'from', such as from: {servers[0]}",
                )
        elif rule.source not in parts.guests:
            yield unknown_guest(path, rule.source, servers or list(parts.guests))
        elif rule.source == rule.to:
            yield Finding(
                path,
                f"source and target of the rule are both '{rule.to}'",
                "remove the rule, or name another guest",
            )
        elif parts.role(rule.source) in ("client", "none"):
            hint = f"choose {listing(servers)}" if servers else "give that guest the image usb-server"
            yield Finding(path, f"'{rule.source}' exports no devices: its image is not a server image", hint)


def ports(parts: Parts) -> Iterator[Finding]:
    """A root port exists and is given to one rule only."""
    given: dict[tuple[str, int], int] = {}
    for index, rule in parts.rules.items():
        guest = parts.guests.get(rule.to)
        if rule.port is None or guest is None:
            continue
        path = ("usb", index, "port")
        if rule.port > guest.usb.ports:
            shown = "ports" in guest.usb.model_fields_set
            yield Finding(
                path,
                f"the controller of '{rule.to}' has {guest.usb.ports} ports, so there is no port {rule.port}",
                f"choose a port from 1 to {guest.usb.ports}, or write usb: {{ports: {rule.port}}} in that guest",
                related=((("guests", rule.to, "usb", "ports"), "its ports"),) if shown else (),
            )
        first = given.setdefault((rule.to, rule.port), index)
        if first != index:
            yield Finding(
                path,
                f"port {rule.port} of '{rule.to}' is assigned twice",
                "choose another port, or remove 'port' to get the first free one",
                related=((("usb", first, "port"), "first"),),
            )


def duplicates(parts: Parts) -> Iterator[Finding]:
    """No two rules match by the same."""
    seen: dict[tuple[object, ...], tuple[int, UsbRule]] = {}
    for index, rule in parts.rules.items():
        what = (rule.device, rule.path, rule.serial, rule.class_, rule.only)
        if not any(what):
            continue
        first, other = seen.setdefault((*what, owner(parts, rule)), (index, rule))
        if first == index:
            continue
        same = other.to == rule.to
        yield Finding(
            ("usb", index),
            "duplicate rule" if same else f"the same devices are assigned to both '{other.to}' and '{rule.to}'",
            "remove one of them" if same else "remove one of the rules, or match more precisely, by path or serial",
            related=((("usb", first), "first"),),
        )


def conversations(parts: Parts) -> Iterator[Finding]:
    """An allow-list that is written out lets every routed device through."""
    if parts.allow is None or not parts.allow_complete:
        return
    open_ways = {str(rule) for rule in parts.allow.values()}
    for place, rule in parts.routes:
        server = owner(parts, rule)
        if server is None or parts.role(server) != "server" or parts.role(rule.to) != "client":
            continue
        port = disk_port(parts, rule.to) if rule.road is Road.BLOCK else USBIP_PORT
        what = f"its disks in '{server}'" if rule.road is Road.BLOCK else f"the USB/IP service of '{server}'"
        line = f"{rule.to} -> {server} {transport(parts)}/{port}"
        if line not in open_ways:
            open_ways.add(line)
            yield Finding(
                ("network", "allow"),
                f"'{rule.to}' is not allowed to reach {what}",
                f"add the rule: {line}\nor remove 'allow': the USB rules then add what they need",
                key=True,
                related=((place, "this rule needs it" if place[0] == "usb" else "this disk needs it"),),
            )


def disk_port(parts: Parts, client: str) -> int:
    """Where a client's disks are in every server: its own port, by its place among the guests."""
    return DISK_PORT + list(parts.guests).index(client)


def may_be_disk(rule: UsbRule) -> bool:
    """Whether a disk can match a USB rule: its class is not another one, and mass storage is not left out."""
    disk = CODES["mass-storage"]
    return rule.class_ in (None, disk) and (not rule.only or disk in rule.only)


def owner(parts: Parts, rule: UsbRule) -> str | None:
    """The guest that a rule takes its device from; None when that is not plain."""
    servers = parts.with_role("server")
    return rule.source or (servers[0] if len(servers) == 1 else None)


def unknown_guest(path: tuple[str | int, ...], name: str, known: list[str]) -> Finding:
    """A rule that names no guest."""
    near = nearest(name, known)
    hint = f"did you mean '{near}'?" if near else f"the guests are: {', '.join(known) or 'none'}"
    return Finding(path, f"there is no guest '{name}'", hint)
