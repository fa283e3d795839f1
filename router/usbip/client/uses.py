# SPDX-License-Identifier: BSD-2-Clause
"""What would lose data if a disk on a virtual port went: mounts, swap, and block devices made of it (LUKS, RAID)."""

from __future__ import annotations

from router.usbip.runtime import proc
from router.usbip.runtime.sysfs import Sysfs

# More are not listed: one is reason enough to ask first.
MAX_USES = 16


def block_devices(sysfs: Sysfs, mark: str) -> list[str]:
    """The disks and partitions below a device of sysfs, by their names. mark: a part of its path ("/1-1/")."""
    return [name for name in sysfs.names("class/block") if mark in sysfs.real(f"class/block/{name}")]


def uses(sysfs: Sysfs, local: str, mountinfo: str, swaps: str) -> list[str]:
    """What is in use of a USB device's disks, such as "sda1 on /mnt"; nothing for a device without any.

    local: its name in this machine ("1-1"). mountinfo, swaps: the text of /proc/1/mountinfo and of /proc/swaps.
    """
    found: list[str] = []
    mounts, swapped = proc.mounts(mountinfo), proc.swaps(swaps)
    todo = block_devices(sysfs, f"/{local}/")
    seen: set[str] = set()
    while todo:
        name = todo.pop(0)
        if name in seen:
            continue
        seen.add(name)
        numbers, mapped = sysfs.get(f"class/block/{name}/dev"), sysfs.get(f"class/block/{name}/dm/name")
        found += [f"{name} on {mount.place}" for mount in mounts if mount.is_of(name, numbers)]
        if swapped & {f"/dev/{name}", f"/dev/mapper/{mapped}"}:
            found.append(f"{name} as swap")
        holders = sysfs.names(f"class/block/{name}/holders")
        found += [f"{name} by {sysfs.get(f'class/block/{one}/dm/name') or one}" for one in holders]
        todo += holders
    return found[:MAX_USES]
