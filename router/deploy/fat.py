# SPDX-License-Identifier: BSD-2-Clause
"""A FAT16 volume with a few files in its root folder, as Microsoft's specification (FATGEN 1.03) lays it out. Pure.

FAT16 because it is the simplest that every U-Boot reads and that holds up to 2 GiB; files lie in one piece.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from router.errors import DescriptionError

SECTOR = 512
ROOT_ENTRIES = 512
RESERVED_SECTORS = 4
MIN_CLUSTERS, MAX_CLUSTERS = 4085, 65524  # what makes a volume FAT16, not FAT12 or FAT32
SPARE_CLUSTERS = 4096  # free room, so that a file can be replaced on the card
DATE_1980 = 0x0021  # 1 January 1980: the volume does not depend on the day it is made


@dataclass(frozen=True, slots=True)
class FatLayout:
    """Sizes of a volume, in sectors unless named otherwise."""

    cluster_sectors: int
    clusters: int
    fat_sectors: int

    @property
    def data_start(self) -> int:
        """First sector of the first cluster."""
        return RESERVED_SECTORS + 2 * self.fat_sectors + ROOT_ENTRIES * 32 // SECTOR

    @property
    def sectors(self) -> int:
        """The whole volume."""
        return self.data_start + self.clusters * self.cluster_sectors


def layout(sizes: list[int]) -> FatLayout:
    """A volume that these files (bytes) fit; DescriptionError when FAT16 cannot hold them."""
    for cluster_sectors in (1, 2, 4, 8, 16, 32, 64):
        needed = sum(-(-size // (cluster_sectors * SECTOR)) for size in sizes) + SPARE_CLUSTERS
        if needed <= MAX_CLUSTERS:
            clusters = max(needed, MIN_CLUSTERS + 16)
            return FatLayout(cluster_sectors, clusters, -(-(clusters + 2) * 2 // SECTOR))
    raise DescriptionError(f"{sum(sizes)} bytes do not fit an SD card's boot partition", hint="2 GiB is the most")


def short_name(name: str) -> bytes | None:
    """The 11 bytes of an 8.3 name, or None when the name is none."""
    match = re.fullmatch(r"([A-Za-z0-9_-]{1,8})(?:\.([A-Za-z0-9_-]{1,3}))?", name)
    if match is None:
        return None
    return match.group(1).upper().encode().ljust(8) + (match.group(2) or "").upper().encode().ljust(3)


def write_volume(out: BinaryIO, start: int, files: Mapping[str, bytes], first_sector: int) -> FatLayout:
    """Write a volume at byte `start` of a file that is zero there; names must be 8.3.

    first_sector: where the partition begins on the disk, which the volume repeats ("hidden sectors").
    """
    shape = layout([len(data) for data in files.values()])
    fat = [0xFFF8, 0xFFFF]
    entries = [_entry(b"ROUTER     ", 0x08, 0, 0, 0)]
    for name, data in files.items():
        short = short_name(name)
        if short is None:
            raise DescriptionError(f"'{name}' is no 8.3 file name", hint="eight characters, a dot and three")
        first = len(fat)
        length = max(1, -(-len(data) // (shape.cluster_sectors * SECTOR)))
        fat += [*range(first + 1, first + length), 0xFFFF]
        # Bits 3 and 4 of byte 12: base and extension are shown in lower case (as Linux and Windows NT have it).
        entries.append(_entry(short, 0x20, 0x18 if name.islower() else 0, first, len(data)))
        out.seek(start + (shape.data_start + (first - 2) * shape.cluster_sectors) * SECTOR)
        out.write(data)
    table = struct.pack(f"<{len(fat)}H", *fat)
    out.seek(start)
    out.write(_boot_sector(shape, first_sector))
    for copy in range(2):
        out.seek(start + (RESERVED_SECTORS + copy * shape.fat_sectors) * SECTOR)
        out.write(table)
    out.seek(start + (RESERVED_SECTORS + 2 * shape.fat_sectors) * SECTOR)
    out.write(b"".join(entries))
    return shape


def _entry(name: bytes, attributes: int, case: int, cluster: int, size: int) -> bytes:
    return struct.pack(
        "<11sBBBHHHHHHHI", name, attributes, case, 0, 0, DATE_1980, DATE_1980, 0, 0, DATE_1980, cluster, size
    )


def _boot_sector(shape: FatLayout, first_sector: int) -> bytes:
    small = shape.sectors if shape.sectors < 65536 else 0
    block = struct.pack(
        "<3s8sHBHBHHBHHHII",
        b"\xeb\x3c\x90",
        b"MSWIN4.1",
        SECTOR,
        shape.cluster_sectors,
        RESERVED_SECTORS,
        2,
        ROOT_ENTRIES,
        small,
        0xF8,
        shape.fat_sectors,
        63,
        255,
        first_sector,
        0 if small else shape.sectors,
    )
    block += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0x524F5554, b"ROUTER     ", b"FAT16   ")
    return block.ljust(510, b"\0") + b"\x55\xaa"
