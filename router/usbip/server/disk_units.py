# SPDX-License-Identifier: BSD-2-Clause
"""The logical units and partitions of a USB disk, as the server's drivers show them in sysfs."""

from __future__ import annotations

from router.usbip.protocol.device import Device
from router.usbip.protocol.disks import MAX_LUNS
from router.usbip.runtime.sysfs import Sysfs

TYPE_DISK, TYPE_OPTICAL = "0", "5"
"""SCSI peripheral device types (SPC-4, 6.6.2), as the attribute `type` of sysfs."""
MAX_PARTS = 256
"""Partitions of a unit that are looked at. A GPT has 128 unless it says otherwise."""


class Part:
    """A partition. block: its block device ("sda1"). start, sectors: of 512 bytes. name: in the partition table."""

    __slots__ = ("block", "name", "read_only", "sectors", "start")

    def __init__(self, name: str, block: str, start: int, sectors: int, read_only: bool = False) -> None:
        self.name = name
        self.block = block
        self.start = start
        self.sectors = sectors
        self.read_only = read_only

    def overlaps(self, other: Part) -> bool:
        return self.start < other.start + other.sectors and other.start < self.start + self.sectors


class Unit:
    """A logical unit of a USB device as the server's drivers show it. block: "" where it has none, or none yet.

    wwid: what the disk itself says who it is (SPC-4, 7.8.6: Device Identification), "" where it or its bridge does not.
    """

    __slots__ = ("block", "kind", "lun", "medium", "parts", "read_only", "sectors", "wwid")

    def __init__(
        self,
        lun: int,
        kind: str,
        block: str,
        sectors: int,
        read_only: bool,
        medium: str = "",
        parts: tuple[Part, ...] = (),
        wwid: str = "",
    ) -> None:
        self.lun = lun
        self.kind = kind
        self.block = block
        self.sectors = sectors
        self.read_only = read_only
        self.medium = medium
        self.parts = parts
        self.wwid = wwid


def read_units(sysfs: Sysfs, device: Device, *, parts: bool = False) -> list[Unit]:
    """The logical units of a USB device that the drivers have found so far. parts: with their partitions."""
    found = []
    for name in sysfs.names("bus/scsi/devices"):
        host, _, lun = name.rpartition(":")
        base = f"bus/scsi/devices/{name}"
        if host.count(":") != 2 or not lun.isdecimal() or int(lun) >= MAX_LUNS:
            continue
        if not sysfs.real(base).startswith(f"{device.path}/"):
            continue
        kind = sysfs.get(f"{base}/type")
        block = next(iter(sysfs.names(f"{base}/block")), "")
        if not kind:
            # It is leaving, or its folder is not complete.
            continue
        # First, so that a change in between is seen as one the next time.
        medium = sysfs.get(f"{base}/block/{block}/diskseq") if block else ""
        size = sysfs.get(f"{base}/block/{block}/size", "0") if block else "0"
        read_only = bool(block) and sysfs.get(f"{base}/block/{block}/ro") == "1"
        inner = read_parts(sysfs, f"{base}/block/{block}") if parts and block else ()
        sectors = int(size) if size.isdecimal() else 0
        wwid = sysfs.get(f"{base}/wwid")
        found.append(Unit(int(lun), kind, block, sectors, read_only, medium, inner, wwid))
    return found


def read_parts(sysfs: Sysfs, folder: str) -> tuple[Part, ...]:
    """The partitions below a disk's folder in sysfs that have a name."""
    found = []
    for block in sysfs.names(folder)[:MAX_PARTS]:
        base = f"{folder}/{block}"
        if not sysfs.exists(f"{base}/partition"):
            continue
        # Documentation/ABI/stable/sysfs-block has no attribute for the name: the event's text has it.
        lines = sysfs.get(f"{base}/uevent").splitlines()
        name = next((line.partition("=")[2] for line in lines if line.startswith("PARTNAME=")), "")
        start, sectors = sysfs.get(f"{base}/start"), sysfs.get(f"{base}/size")
        if name and start.isdecimal() and sectors.isdecimal():
            found.append(Part(name, block, int(start), int(sectors), sysfs.get(f"{base}/ro") == "1"))
    return tuple(found)
