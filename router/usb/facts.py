# SPDX-License-Identifier: BSD-2-Clause
"""What there is of USB in a running system, as typed values. `answers` reads them from what the guests print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SPEEDS = ("?", "1.5M", "12M", "480M", "480M", "5G", "10G")
"""By `enum usb_device_speed` (linux/usb/ch9.h), in bit/s; the fifth is wireless USB."""
SUPER = 5
USBIP_PORT = 3240
UNKNOWN = "unknown"
"""The server's word for a client that had the device before the server's daemon was started."""
MARK = "# at run time"
"""How a rule ends that was added while the system ran (router.usbip.policy.file)."""


@dataclass(frozen=True)
class Grant:
    """What lets a guest have a device: the rule's `words`, and the virtual port, 0 for any."""

    port: int
    words: str

    @property
    def at_run_time(self) -> bool:
        """Whether it was made by hand while the system ran."""
        return self.words.endswith(MARK)


@dataclass(frozen=True)
class Part:
    """A part of a disk that a guest gets as a disk of that name. exported: the guest can have it now."""

    guest: str
    disk: str
    exported: bool


@dataclass(frozen=True)
class Device:
    """A USB device of a server guest. `speed`: see SPEEDS. `exported`: the server can hand it out."""

    server: str
    busid: str
    busnum: int
    devnum: int
    vidpid: str
    manufacturer: str
    product: str
    serial: str
    speed: int
    triple: tuple[int, ...]
    interfaces: tuple[tuple[int, ...], ...]
    exported: bool
    holder: str | None
    """The guest that has it, or what the server calls its client, or UNKNOWN; None when nobody has."""
    grants: Mapping[str, Grant]
    """By guest."""
    taken: tuple[str, ...]
    """The guests that it was taken from by hand."""
    disk: str | None = None
    """What its guest calls it, where it goes as blocks; None where it goes by USB/IP."""
    parts: tuple[Part, ...] = ()
    """What guests have of it, where it goes in parts; `disk` then has all their names."""
    readers: tuple[str, ...] = ()
    """The guests that can have it as blocks: those with a port for disks in the server."""

    @property
    def held(self) -> str | None:
        """Who has it as blocks, and what it is called there; None when nobody has, or where it goes by USB/IP."""
        if self.parts:
            return "; ".join(f"{part.guest}, as blocks: {part.disk}" for part in self.parts if part.exported) or None
        return f"{self.holder}, as blocks: {self.disk}" if self.holder and self.disk is not None else None

    @property
    def name(self) -> str:
        """What it calls itself. A product that repeats its maker's name does not have it twice."""
        return full_name(self.manufacturer, self.product)

    @property
    def hub(self) -> str:
        """The kind of port that it needs: "hs" or "ss"."""
        return "ss" if self.speed >= SUPER else "hs"


def full_name(manufacturer: str, product: str) -> str:
    """ "QEMU USB Keyboard" of "QEMU" and "QEMU USB Keyboard" as well as of "QEMU" and "USB Keyboard"."""
    maker = "" if product.startswith(manufacturer) else manufacturer
    return f"{maker} {product}".strip() or "(nameless)"


@dataclass(frozen=True)
class Attached:
    """What is on a virtual port."""

    server: str
    """The guest that it came from, or its address, or "" when that is not known."""
    busid: str
    busnum: int
    devnum: int
    vid: int
    pid: int
    name: str
    speed: int
    local: str
    drivers: tuple[str, ...]
    uses: tuple[str, ...] = ()
    """What of its disks is in use: "sda1 on /mnt"."""

    def is_from(self, device: Device) -> bool:
        """Whether it is that device of a server."""
        if not self.busnum:
            # The guest's kernel has not given it a name yet.
            return (self.server, self.busid) == (device.server, device.busid)
        numbers = (self.busnum, self.devnum) == (device.busnum, device.devnum)
        return numbers and self.server in ("", device.server)


@dataclass(frozen=True)
class Port:
    """A virtual port of a client guest. `hub`: hs or ss; `state`: free, starting, used, error."""

    guest: str
    number: int
    hub: str
    controller: int
    place: int
    rhport: int
    state: str
    device: Attached | None


@dataclass(frozen=True)
class BlockDisk:
    """A disk that a client guest has as blocks. name: below /dev/disk/by-router; block: the kernel's name."""

    guest: str
    name: str
    block: str
    uses: tuple[str, ...] = ()
    """What of it is in use: "nvme0n1p1 on /mnt"."""

    def is_from(self, device: Device) -> bool:
        """Whether it is a logical unit of that device, which goes to its guest."""
        return device.disk is not None and (self.name == device.disk or self.name.startswith(f"{device.disk}-lun"))


@dataclass(frozen=True)
class Controller:
    """A virtual host controller of a client guest; one that is not `present` can be created."""

    guest: str
    index: int
    present: bool
    usb: int
    ports: int
    used: tuple[int, ...]


@dataclass(frozen=True)
class Guest:
    """A guest of the running system."""

    name: str
    role: str
    address: str
    usb: int
    ports: int
    up: bool


@dataclass(frozen=True)
class Snapshot:
    """All of it at one moment. `troubles`: guests that did not answer, and why."""

    system: str
    guests: Mapping[str, Guest]
    reaches: frozenset[tuple[str, str]]
    """(client, server) pairs between which the switch lets USB/IP through."""
    devices: tuple[Device, ...] = ()
    ports: Mapping[str, tuple[Port, ...]] = field(default_factory=dict)
    controllers: Mapping[str, tuple[Controller, ...]] = field(default_factory=dict)
    troubles: Mapping[str, str] = field(default_factory=dict)
    disks: Mapping[str, tuple[BlockDisk, ...]] = field(default_factory=dict)
    """By guest, as it says."""

    def with_role(self, role: str) -> list[Guest]:
        """The guests of that role, in the description's order."""
        return [guest for guest in self.guests.values() if guest.role == role]

    def place_of(self, device: Device) -> Port | None:
        """The virtual port that a device is on: of its holder, whatever other guests say that they have."""
        holder = device.holder
        names = [holder] if holder is not None and holder in self.guests else [*self.ports]
        for name in names:
            for port in self.ports.get(name, ()):
                there = port.device
                if there is not None and there.is_from(device):
                    return port
        return None


def guests_of(state: Mapping[str, Any]) -> dict[str, Guest]:
    """The guests in an answer to `state`."""
    return {
        row["name"]: Guest(
            row["name"], row["role"], row["address"], row["usb"]["version"], row["usb"]["ports"], row["up"]
        )
        for row in state["guests"]
    }


def reaches_of(state: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Who may talk USB/IP to whom, in an answer to `state`."""
    return frozenset(
        (rule["from"], rule["to"])
        for rule in state["rules"]
        if rule["protocol"] in ("tcp", "vsock") and rule["port"] in (USBIP_PORT, None)
    )
