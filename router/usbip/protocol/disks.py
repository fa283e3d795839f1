# SPDX-License-Identifier: BSD-2-Clause
"""How a server and its clients call a disk that goes as blocks: subsystem, identifiers, name.

A namespace's UUID says which disk it is. Its NGUID has 8 bytes of that, and 8 bytes that say what the client calls it:
a client cannot know the port that a disk will be plugged into, and NVMe has no other room for that (NVM Express Base
2.0, 5.17.2.3: both identify the namespace).
"""

from __future__ import annotations

import hashlib

from router.usbip.protocol.device import Device, valid_busid

SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
MAX_NAME = 32
MAX_LUNS = 8
"""Logical units of one device that are served."""
MAX_BASE_NAME = MAX_NAME - len(f"-lun{MAX_LUNS - 1}")
"""Of a device's name, so that its last logical unit's name fits too."""
_PORTS = 6
"""Ports from the root hub to a device: five hubs at most in between (USB 2.0, 4.1.1)."""


def subsystem(address: str, tcp: int) -> str:
    """The NVMe subsystem at a client's TCP port of a server. Everybody can know it: only the port proves who the client
    is. Each server has names of its own: Linux takes two connections to one name for two ways to the same disks.
    """
    return f"nqn.2025-01.org.router:disks-{address}-{tcp}"


def valid_disk_name(text: str) -> bool:
    """Whether the text can be a disk's name in a client: it becomes a file's name."""
    return 1 <= len(text) <= MAX_NAME and all(letter in SAFE for letter in text) and text[0] not in ".-"


def valid_base_name(text: str) -> bool:
    """Whether the text can be what a rule calls a device's first disk: a further unit's name is longer."""
    return len(text) <= MAX_BASE_NAME and valid_disk_name(text)


def part_name(name: str, owner: str) -> str:
    """What the partition of a disk is called. owner: of its guest, "" where the policy leaves that open."""
    return f"{name}:{owner}" if owner else name


def disk_of(part: str) -> str:
    """The disk's name in a partition's."""
    return part.partition(":")[0]


class Disk:
    """A disk of the server: a logical unit of a USB device, or a part of one.

    block: its block device ("sda"). sectors: of 512 bytes, 0 where there is no medium. medium: the kernel's number of
    what is in it, another one after each change ("" before Linux 5.15: Documentation/ABI/testing/sysfs-block, diskseq).
    Of a part: its name, where it starts, and the block device that it is a part of; lun is 0.
    wwid: what the disk itself says who it is, as a dock's USB strings are the dock's; "" where that is not known.
    """

    __slots__ = ("block", "device", "lun", "medium", "part", "sectors", "start", "whole", "wwid")

    def __init__(
        self,
        device: Device,
        lun: int,
        block: str,
        sectors: int,
        medium: str = "",
        part: str = "",
        start: int = 0,
        whole: str = "",
        wwid: str = "",
    ) -> None:
        self.device = device
        self.lun = lun
        self.block = block
        self.sectors = sectors
        self.medium = medium
        self.part = part
        self.start = start
        self.whole = whole or block
        self.wwid = wwid

    def overlaps(self, other: Disk) -> bool:
        """Whether the two have blocks in common: they are one, or a part and its whole, or parts that a broken table
        puts on one another."""
        if self.whole != other.whole:
            return False
        apart = self.start + self.sectors <= other.start or other.start + other.sectors <= self.start
        return self.block == other.block or not (self.part and other.part and apart)

    def digest(self) -> bytes:
        """32 bytes that follow from the disk itself, so that another one in its port has others."""
        device = self.device
        facts: tuple[object, ...] = (device.vidpid, device.serial, device.manufacturer, device.product, self.lun)
        facts += (self.sectors, *((self.part, self.start) if self.part else ()), *((self.wwid,) if self.wwid else ()))
        return hashlib.sha256("\0".join(map(str, facts)).encode("utf-8", "surrogateescape")).digest()


def uuid_of(digest: bytes) -> str:
    """A UUID of version 8 (RFC 9562) for that disk."""
    data = bytearray(digest[:16])
    data[6] = data[6] & 0x0F | 0x80
    data[8] = data[8] & 0x3F | 0x80
    return _dashed(bytes(data))


def nguid_of(digest: bytes, place: bytes) -> str:
    """The NGUID of that disk at that place, as nvmet writes it."""
    return _dashed(digest[16:24] + place)


def place_of(disk: Disk, name: str) -> bytes:
    """8 bytes for what the client calls the disk. The first is the USB bus, or 0 before 6 bytes of a name's digest."""
    if name:
        return b"\0" + _name_digest(name) + bytes((disk.lun,))
    bus, _, chain = disk.device.busid.partition("-")
    ports = [int(port) for port in chain.split(".")][:_PORTS]
    return bytes((int(bus) & 0xFF, *ports, *([0] * (_PORTS - len(ports))), disk.lun))


def name_in(nguid: str, names: tuple[str, ...]) -> str:
    """The name in the NGUID that a namespace has (sysfs attribute `nguid`); "" where it has none that is known.

    names: those that the client's description gives.
    """
    try:
        data = bytes.fromhex(nguid.replace("-", ""))
    except ValueError:
        return ""
    if len(data) != 16:
        return ""
    bus, middle, lun = data[8], data[9:15], data[15]
    if bus:
        busid = f"{bus}-" + ".".join(str(port) for port in middle if port)
        name = f"usb-{busid}" if valid_busid(busid) else ""
    else:
        name = next((one for one in names if _name_digest(one) == middle), "")
    return f"{name}-lun{lun}" if name and lun else name


def base_name(device: Device, name: str) -> str:
    """What the client calls the first disk of a device; name: its rule's, or ""."""
    return name or f"usb-{device.busid}"


def disk_name(disk: Disk, name: str) -> str:
    """What the client calls the disk; name: its rule's, or ""."""
    whole = base_name(disk.device, name)
    return f"{whole}-lun{disk.lun}" if disk.lun else whole


def _name_digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:_PORTS]


def _dashed(data: bytes) -> str:
    text = data.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
