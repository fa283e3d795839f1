# SPDX-License-Identifier: BSD-2-Clause
"""What would lose data if a disk on a virtual port went: mounts, swap, and block devices made of it (LUKS, RAID)."""

from __future__ import annotations

from router.usbip.runtime import proc
from router.usbip.runtime.sysfs import Sysfs

# More are not listed: one is reason enough to ask first.
MAX_USES = 16
MAX_BLOCK_DEVICES = 4096


def block_devices(sysfs: Sysfs, mark: str) -> list[str]:
    """The disks and partitions below a device of sysfs, by their names. mark: a part of its path ("/1-1/")."""
    return [name for name in sysfs.names("class/block") if mark in sysfs.real(f"class/block/{name}")]


class Storage:
    """This machine's block devices, mounts and swap at one moment: they are listed once for all its ports.

    mountinfo, swaps: the text of /proc/1/mountinfo and of /proc/swaps, which the kernel bounds (sysctl fs.mount-max;
    MAX_SWAPFILES of linux/swap.h).
    """

    __slots__ = ("_by_number", "_by_source", "_paths", "_swapped", "_sysfs", "_unseen")

    def __init__(self, sysfs: Sysfs, mountinfo: str, swaps: str) -> None:
        self._sysfs = sysfs
        names = sysfs.names("class/block")
        self._unseen = len(names[MAX_BLOCK_DEVICES:])
        self._paths = {name: sysfs.real(f"class/block/{name}") for name in names[:MAX_BLOCK_DEVICES]}
        self._by_number: dict[str, list[str]] = {}
        self._by_source: dict[str, list[str]] = {}
        """Places of mounts."""
        for mount in proc.mounts(mountinfo):
            self._by_number.setdefault(mount.numbers, []).append(mount.place)
            self._by_source.setdefault(mount.source, []).append(mount.place)
        self._swapped = proc.swaps(swaps)

    def uses(self, local: str) -> list[str]:
        """What is in use of a USB device's disks, such as "sda1 on /mnt"; nothing for a device without any.

        local: the device's name in this machine ("1-1").
        """
        # Those that were not looked at may be its own.
        found = [f"one of {self._unseen} block devices too many to look at"] if self._unseen else []
        todo = [name for name, path in self._paths.items() if f"/{local}/" in path]
        seen: set[str] = set()
        while todo:
            name = todo.pop(0)
            if name in seen:
                continue
            seen.add(name)
            found += [f"{name} on {place}" for place in self._places(name)]
            mapped = self._sysfs.get(f"class/block/{name}/dm/name")
            if self._swapped & {f"/dev/{name}", f"/dev/mapper/{mapped}"}:
                found.append(f"{name} as swap")
            holders = self._sysfs.names(f"class/block/{name}/holders")
            found += [f"{name} by {self._sysfs.get(f'class/block/{one}/dm/name') or one}" for one in holders]
            todo += holders
        return found[:MAX_USES]

    def _places(self, name: str) -> list[str]:
        """Where it is mounted. btrfs has device numbers of its own, so the source counts as well."""
        numbers = self._sysfs.get(f"class/block/{name}/dev")
        return list(dict.fromkeys([*self._by_number.get(numbers, ()), *self._by_source.get(f"/dev/{name}", ())]))
