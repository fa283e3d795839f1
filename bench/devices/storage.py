# SPDX-License-Identifier: BSD-2-Clause
"""What is done with disks over the route."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from bench import programs
from bench.devices.models import Outcome, expect
from bench.devices.rig import Rig
from bench.systems import MiB
from router.errors import MachineError

DISK = 12 * MiB


def use_disk(rig: Rig, before: str, medium: Callable[[int, int], str]) -> Outcome:
    """Read a whole disk and write a part. before: SHA-256 of its contents; medium: gives that of (start, size)."""
    disk = rig.wait_disk()
    expect(rig.run("client", f"sha256sum {disk}", 90).split()[0], before, "the disk's contents")
    start, size = 4 * MiB, 2 * MiB
    write = programs.script("overwrite_disk", disk, start, size // MiB)
    made = rig.run("client", write, 90).split()[0]
    expect(medium(start, size), made, "what was written")
    return Outcome(f"read {DISK // MiB} MiB, wrote {size // MiB} MiB: SHA-256 is the same on both sides")


def random_image(rig: Rig) -> tuple[Path, str]:
    """A disk image of random bytes and its SHA-256."""
    path = rig.folder / f"disk-{time.monotonic_ns():x}.img"
    data = os.urandom(DISK)
    path.write_bytes(data)
    rig.add_cleanup(path.unlink)
    return path, hashlib.sha256(data).hexdigest()


def digest_of_range(path: Path) -> Callable[[int, int], str]:
    """A function of (start, size) that gives the SHA-256 of that part of an image."""
    return lambda start, size: hashlib.sha256(path.read_bytes()[start : start + size]).hexdigest()


def disk(kind: str, device: str) -> Callable[[Rig], Outcome]:
    """The exercise of a disk of that kind, with usb-storage in the client."""

    def exercise(rig: Rig) -> Outcome:
        path, before = random_image(rig)
        rig.plug(f"{kind}:{path}")
        rig.wait_attached(device, "usb-storage")
        return use_disk(rig, before, digest_of_range(path))

    return exercise


NO_STREAMS = (
    "UAS at SuperSpeed needs bulk streams, which USB/IP and vhci do not have, and the device has no bulk-only setting"
)


def uas(rig: Rig) -> Outcome:
    """A disk without bulk-only transport, at SuperSpeed."""
    path, before = random_image(rig)
    rig.plug(f"uas:{path}")
    if "uas" not in rig.wait_attached("46f4:0003").drivers.values():
        said = rig.run("client", "dmesg | grep 'support streams' | tail -n 1").strip()
        if said:
            raise MachineError(f"{NO_STREAMS} ({said.partition('] ')[2]})")
        raise MachineError("the driver uas did not bind")
    return use_disk(rig, before, digest_of_range(path))
