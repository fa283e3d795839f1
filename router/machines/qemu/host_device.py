# SPDX-License-Identifier: BSD-2-Clause
"""A real USB device of this computer, which QEMU's usb-host takes from it and gives to the server guest."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from router.errors import DescriptionError, HostError
from router.usbip.client.uses import Storage
from router.usbip.protocol.device import CLASS_HUB
from router.usbip.runtime import proc
from router.usbip.runtime.sysfs import Sysfs

SYSFS = Path("/sys")
NODES = Path("/dev/bus/usb")
IDENTITY = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{4})")
SUPERSPEED_MBIT = 5000
MAX_LISTED = 8


@dataclass(frozen=True)
class HostDevice:
    """vendor, product, name: of its descriptors; classes: of the device and its interfaces; node: its file in /dev."""

    vendor: int
    product: int
    name: str
    classes: tuple[int, ...]
    superspeed: bool
    node: Path

    @property
    def identity(self) -> str:
        """As lsusb writes it."""
        return f"{self.vendor:04x}:{self.product:04x}"


def find_host_device(text: str) -> HostDevice:
    """The device of this computer with the identity VENDOR:PRODUCT, four hexadecimal digits each.

    DescriptionError: the text is wrong, there is no such device or more than one, it is a hub, or a disk of it is
    in use (mounted, swap, below LUKS, LVM or RAID). HostError: this user may not use it.
    """
    match = IDENTITY.fullmatch(text)
    if match is None:
        raise DescriptionError(
            f"'{text}' is not VENDOR:PRODUCT, four hexadecimal digits each",
            hint="write what lsusb shows after 'ID', such as --usb host:0781:5567",
            where="--usb",
        )
    devices = SYSFS / "bus/usb/devices"
    folders = sorted(devices.iterdir()) if devices.is_dir() else []
    here = [(folder, device) for folder in folders if (device := read_device(folder)) is not None]
    wanted = [(folder, device) for folder, device in here if device.identity == text.lower()]
    if not wanted:
        there = [f"{device.identity} ({device.name})" for _, device in here if CLASS_HUB not in device.classes]
        more = f" and {len(there) - MAX_LISTED} more" if len(there) > MAX_LISTED else ""
        listed = ", ".join(there[:MAX_LISTED]) + more
        raise DescriptionError(
            f"no USB device {text} is plugged into this computer",
            hint=f"there are: {listed}" if there else "it sees no USB devices at all",
            where="--usb",
        )
    if len(wanted) > 1:
        raise DescriptionError(
            f"{len(wanted)} devices of this computer are {text}, and QEMU would take any",
            hint="pull out those that are not meant",
            where="--usb",
        )
    folder, device = wanted[0]
    check_free(folder, device)
    return device


def read_device(folder: Path) -> HostDevice | None:
    """What sysfs says about a device (Documentation/ABI/testing/sysfs-bus-usb).

    None for what is no device (an interface), and for one that was pulled out meanwhile.
    """
    try:
        return _read_device(folder)
    except (OSError, ValueError):
        return None


def _read_device(folder: Path) -> HostDevice:

    def text(name: str) -> str:
        try:
            return (folder / name).read_text().strip()
        except OSError:
            return ""

    interfaces = sorted(folder.glob(f"{folder.name}:*/bInterfaceClass"))
    classes = (int(text("bDeviceClass") or "0", 16), *(int(each.read_text(), 16) for each in interfaces))
    speed = text("speed")
    return HostDevice(
        vendor=int(text("idVendor"), 16),
        product=int(text("idProduct"), 16),
        name=" ".join(filter(None, (text("manufacturer"), text("product")))) or "no name",
        classes=tuple(dict.fromkeys(classes)),
        superspeed=speed.isdecimal() and int(speed) >= SUPERSPEED_MBIT,
        node=NODES / f"{int(text('busnum') or '0'):03}" / f"{int(text('devnum') or '0'):03}",
    )


def check_free(folder: Path, device: HostDevice) -> None:
    """Raise unless this user may take the device, and no disk of it is in use on this computer."""
    if CLASS_HUB in device.classes:
        raise DescriptionError(
            f"{device.identity} is a hub, and stays with this computer",
            hint="name a device that is plugged into it",
            where="--usb",
        )
    used = Storage(Sysfs(str(SYSFS)), proc.read("self/mountinfo"), proc.read("swaps")).uses(folder.name)
    if used:
        raise DescriptionError(
            f"{device.identity} ({device.name}) is in use on this computer: {', '.join(used)}",
            hint="unmount it, swapoff it, or close what is made of it (LUKS, LVM, RAID)",
            where="--usb",
        )
    if not os.access(device.node, os.R_OK | os.W_OK):
        raise HostError(
            f"{device.node} ({device.name}) cannot be opened for reading and writing",
            hint=f"sudo setfacl -m u:$USER:rw {device.node}",
            where="--usb",
        )
