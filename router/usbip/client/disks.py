# SPDX-License-Identifier: BSD-2-Clause
"""Larger commands for disks on virtual ports: bulk-only storage waits a round trip a command, so size is throughput."""

from __future__ import annotations

from router.usbip.runtime import event_loop
from router.usbip.runtime.log import log
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.runtime.uevent import Uevents

# usb-storage's default below super-speed (drivers/usb/storage/scsiglue.c). Any other value is one that the driver chose
# for this very disk, and stays.
DEFAULT_MAX_SECTORS = 240
READ_AHEAD_KIB = 4096


def raise_max_sectors(sysfs: Sysfs, device: str, sectors: int) -> bool:
    """Lets a disk on a virtual port move that many 512-byte sectors a command; False if it is left as it is.

    device: the block device's path below sysfs ("devices/platform/vhci_hcd.0/…/block/sda").
    """
    attribute = f"{device}/device/max_sectors"
    if "/vhci_hcd" not in device or sysfs.get(attribute) != str(DEFAULT_MAX_SECTORS):
        return False
    try:
        sysfs.write(attribute, str(sectors))
    except OSError as error:
        log(f"{device.rpartition('/')[2]}: cannot raise max_sectors: {error.strerror}")
        return False
    return True


def deepen_read_ahead(sysfs: Sysfs, device: str) -> bool:
    """Lets sequential reads of a disk on a virtual port run ahead by four commands; False if it is left as it is.

    Bulk-only storage has one command at a time: the next one must be waiting when it ends, or the line stands idle.
    """
    attribute = f"{device}/queue/read_ahead_kb"
    now = sysfs.get(attribute)
    if "/vhci_hcd" not in device or not now or not now.isdecimal() or int(now) >= READ_AHEAD_KIB:
        return False
    try:
        sysfs.write(attribute, str(READ_AHEAD_KIB))
    except OSError as error:
        log(f"{device.rpartition('/')[2]}: cannot raise read_ahead_kb: {error.strerror}")
        return False
    return True


def follow_disks(loop: event_loop.Loop, sysfs: Sysfs, sectors: int) -> Uevents | None:
    """Does so for each disk that appears. Without kernel uevents, or with 0 sectors, disks stay as they are."""
    if not sectors:
        return None
    try:
        uevents = Uevents()
    except OSError as error:
        log(f"no kernel uevents ({error.strerror}): max_sectors stays as it is")
        return None

    def heard(_: int) -> None:
        for message in uevents.read() or ():
            if message.get("ACTION") == "add" and message.get("DEVTYPE") == "disk":
                device = message.get("DEVPATH", "").lstrip("/")
                raise_max_sectors(sysfs, device, sectors)
                deepen_read_ahead(sysfs, device)

    loop.watch(uevents.fileno(), event_loop.IN, heard)
    return uevents
