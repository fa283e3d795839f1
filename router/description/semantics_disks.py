# SPDX-License-Identifier: BSD-2-Clause
"""Rules about disks that go as blocks: whole ones (`usb`, `as: block`) and parts of one (`disks`)."""

from __future__ import annotations

from collections.abc import Iterator

from router.description.models import ImageFiles, Road, UsbRule
from router.description.parts import Finding, Parts, Path
from router.description.semantics_usb import disk_port, may_be_disk, owner
from router.usbip.protocol.classes import CODES, class_word

WHY_A_PORT = {
    "usb": "this rule gives them",
    "disks": "this is one of them",
    "network": "this rule lets it have disks",
}


def blocks(parts: Parts) -> Iterator[Finding]:
    """What goes as blocks is a disk, and both guests have what that takes."""
    for place, rule in parts.routes:
        whole = place[0] == "usb"
        path = (*place, "as") if whole else place
        if rule.road is Road.USB:
            if rule.name is not None:
                yield Finding(
                    (*place, "name"),
                    "only disks that go as blocks have a name",
                    "add 'as: block', or remove 'name'",
                )
            continue
        if not may_be_disk(rule):
            word = class_word(rule.class_) if rule.class_ not in (None, CODES["mass-storage"]) else "these devices"
            yield Finding(
                path if whole else (*place, "on", "class"),
                f"{word}: only disks can go as blocks",
                "remove 'as: block', or write class: mass-storage" if whole else "write class: mass-storage",
            )
        if rule.port is not None:
            yield Finding(
                (*place, "port"),
                "a disk that goes as blocks is on no port of a virtual controller",
                "remove 'port', or 'as: block'",
            )
        yield from _able(parts, path, rule, "'as: block'" if whole else "the disk")


def waits(parts: Parts) -> Iterator[Finding]:
    """Only a guest with disks as blocks waits for their server."""
    for name, guest in parts.guests.items():
        if guest is None or guest.disk_wait is None or not parts.sure:
            continue
        if not any(rule.to == name and rule.road is Road.BLOCK for _, rule in parts.routes):
            yield Finding(
                ("guests", name, "disk_wait"),
                f"'{name}' gets no disks as blocks, so there is nothing to wait for",
                "remove disk_wait, or give the guest a disk: an entry in disks, or a USB rule with as: block",
                key=True,
            )


def _able(parts: Parts, path: Path, rule: UsbRule, what: str) -> Iterator[Finding]:
    """Both guests can do it, and the server is trusted. what: what to remove otherwise."""
    server = owner(parts, rule)
    for name, needs in ((rule.to, "attach"), (server, "export")):
        guest = parts.guests.get(name) if name else None
        if guest is not None and isinstance(guest.image, ImageFiles):
            image = "usb-client" if needs == "attach" else "usb-server"
            yield Finding(
                path,
                f"the image of '{name}' is of its own files: it cannot be told to {needs} disks as blocks",
                f"give '{name}' the image {image}, or one that extends it, or remove {what}",
            )
    guest = parts.guests.get(server) if server else None
    if guest is not None and not guest.trusted:
        yield Finding(
            path,
            f"'{server}' is not trusted, and of blocks nothing is checked before the kernel of '{rule.to}' sees it",
            f"remove {what}, or 'trusted: false' from '{server}'",
            related=((("guests", str(server), "trusted"), "here"),),
        )


def names(parts: Parts) -> Iterator[Finding]:
    """A name is a file's name in the guest, and a partition's name in the physical disk: no two are equal."""
    in_guests: dict[tuple[str, str], Path] = {}
    on_disks: dict[str, Path] = {}
    for place, rule in parts.routes:
        if rule.road is Road.USB or rule.name is None:
            continue
        first = in_guests.setdefault((rule.to, rule.name), place)
        on_disk = on_disks.setdefault(rule.name, place) if place[0] == "disks" else place
        if first != place:
            yield Finding(
                (*place, "name"),
                f"two disks of '{rule.to}' are called '{rule.name}'",
                "choose another name: it is a file's name in the guest",
                related=(((*first, "name"), "first"),),
            )
        elif on_disk != place:
            yield Finding(
                (*place, "name"),
                f"two disks are called '{rule.name}'",
                "choose another name: it is a partition's name on the physical disk",
                related=(((*on_disk, "name"), "first"),),
            )


def matches(parts: Parts) -> Iterator[Finding]:
    """A disk says which physical disk it is a part of, and that one goes to no guest as a whole."""
    whole = {
        (rule.device, rule.path, rule.serial, rule.class_, owner(parts, rule)): index
        for index, rule in parts.rules.items()
        if not rule.only
    }
    for index, part in parts.disks.items():
        match = part.on
        what = (match.device, match.path, match.serial, match.class_)
        if what == (None,) * 4:
            yield Finding(
                ("disks", index, "on"),
                "this fits every device",
                "add device, path, serial or class, such as on: {class: mass-storage}",
            )
        first = whole.get((*what, owner(parts, part.as_rule())))
        if first is not None:
            yield Finding(
                ("disks", index, "on"),
                f"a rule gives the same devices to '{parts.rules[first].to}', and a disk goes whole or in parts",
                "remove one of the two, or match more precisely, by path or serial",
                related=((("usb", first), "here"),),
            )


def disk_ports(parts: Parts) -> Iterator[Finding]:
    """A client's port of a server is the only proof of who it is, so no other guest may reach it."""
    taken: dict[tuple[str, int], tuple[str, Path]] = {}
    for place, rule in parts.routes:
        server = owner(parts, rule)
        if rule.road is Road.BLOCK and server is not None and rule.to in parts.guests:
            taken.setdefault((server, disk_port(parts, rule.to)), (rule.to, place))
    servers = {server for server, _ in taken}
    for index, allow in (parts.allow or {}).items():
        # A disk can be moved there while the system runs.
        if allow.destination in servers and allow.source in parts.guests:
            own = disk_port(parts, allow.source)
            if allow.protocol == "tcp" and allow.port == own:
                taken.setdefault((allow.destination, own), (allow.source, ("network", "allow", index)))
    for index, allow in (parts.allow or {}).items():
        client, first = taken.get((allow.destination, allow.port or 0), ("", ()))
        if client and allow.protocol == "tcp" and allow.source != client:
            yield Finding(
                ("network", "allow", index),
                f"tcp/{allow.port} of '{allow.destination}' has disks of '{client}': '{allow.source}' would get them",
                "remove the rule",
                related=((first, WHY_A_PORT[str(first[0])]),),
            )
