# SPDX-License-Identifier: BSD-2-Clause
"""Prepares a physical disk for a description: a partition for each of its disks, and nobody's data lost unasked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from router.disk.layout import Disk, Layout, Wanted, lay_out, type_of
from router.disk.opened import opened, read_again, shape, zero
from router.disk.table import read_disk, write_table
from router.errors import DescriptionError, HostError
from router.usbip.protocol.disks import disk_of
from router.words import size_text


def prepare(
    path: Path,
    wanted: Sequence[Wanted],
    guests: Sequence[str],
    *,
    erase: bool = False,
    dry: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Layout:
    """Write the table that `wanted` needs, and zero the partitions that are new: what was there before is not the new
    guest's to read. Partitions that match stay with their data.

    erase: what does not match may be lost. dry: only look.
    DescriptionError says what would be lost, or that the disk is too small; HostError that it is in use, or a tool
    failed.
    """
    with opened(path) as descriptor:
        size, sector = shape(descriptor)
        disk = read_disk(descriptor, size, sector)
        layout = lay_out(disk, wanted, guests, str(path))
        if layout.lost and not erase:
            raise DescriptionError(
                f"this would be lost: {'; '.join(layout.lost)}",
                hint="save what you need of it; --erase then writes over it (partitions that match stay)",
                where=str(path),
            )
        if dry or not (layout.new or layout.lost):
            return layout
        # First zeros, then the table: a guest never sees what was there, however this ends.
        for one in layout.new:
            for done in zero(descriptor, one.start, one.size):
                progress(f"zeroing {disk_of(one.name)}: {size_text(done)} of {size_text(one.size)}")
        write_table(descriptor, disk, layout.partitions)
        os.fsync(descriptor)
        read_again(descriptor)
        again = lay_out(read_disk(descriptor, size, sector), wanted, guests, str(path))
        if again.new or again.lost:
            raise HostError("the disk's new table does not read as it was written", "try another disk", str(path))
    return layout


def missing(path: Path, wanted: Sequence[Wanted]) -> list[str]:
    """The names of those that an image does not have as they should be; it is only read. OSError where it cannot be."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        disk = read_disk(descriptor, *shape(descriptor))
    finally:
        os.close(descriptor)
    return [one.name for one in wanted if not is_prepared(disk, [one])]


def is_prepared(disk: Disk, wanted: Sequence[Wanted]) -> bool:
    """Whether the disk has each of these as a partition, once, of that size and guest."""
    there = [(one.name, one.size, one.kind) for one in disk.partitions]
    return all(there.count((one.part, one.size, type_of(one.guest))) == 1 for one in wanted)
