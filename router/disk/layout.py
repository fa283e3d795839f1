# SPDX-License-Identifier: BSD-2-Clause
"""What a physical disk's partition table is to be, and what that would cost. No effects.

A partition's type (UEFI 2.10, 5.3.3: a GUID) says which guest it belongs to, so that another guest never gets what this
one has written. Its name is the disk's name in the description with the type's beginning, as the server's kernel shows
names and no types.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from router.description.models import Description, DiskPart
from router.description.values import PART_UNIT
from router.errors import DescriptionError
from router.usbip.protocol.disks import disk_of, part_name
from router.words import listing, size_text

_NAMESPACE = uuid.UUID("5e0a2f6c-3d0b-4c55-9b3e-0d6f5b1a7c42")
ENTRIES = 128 * 128
"""Bytes of a GPT's entries, which stand before the partitions and again behind them (UEFI 2.10, 5.3.1)."""


def type_of(guest: str) -> str:
    """The partition type of a guest's disks, in the case in which sfdisk prints it."""
    return str(uuid.uuid5(_NAMESPACE, guest)).upper()


def owner_of(guest: str) -> str:
    """What the names of a guest's partitions end with, and the policy's word `owner`."""
    return type_of(guest)[:8].lower()


@dataclass(frozen=True)
class Wanted:
    """A disk of the description. size: in bytes."""

    name: str
    guest: str
    size: int

    @property
    def part(self) -> str:
        """What its partition is called: at most 36 letters, which is what a GPT has room for."""
        return part_name(self.name, owner_of(self.guest))


@dataclass(frozen=True)
class Partition:
    """An entry of a partition table. start, size: in bytes. kind: its type. ident: "" for one that is new."""

    name: str
    start: int
    size: int
    kind: str
    ident: str = ""

    @property
    def end(self) -> int:
        return self.start + self.size

    def overlaps(self, other: Partition) -> bool:
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Signature:
    """What stands on the disk besides a GPT, such as a file system. offset: in bytes, of its mark."""

    text: str
    offset: int


@dataclass(frozen=True)
class Disk:
    """A physical disk as it is. size, sector: in bytes. ident: of its GPT; "" where it has none."""

    size: int
    sector: int
    ident: str = ""
    partitions: tuple[Partition, ...] = ()
    signatures: tuple[Signature, ...] = ()

    @property
    def last(self) -> int:
        """Where partitions end at the latest: behind them are the table's copy and one header."""
        return self.size // self.sector * self.sector - ENTRIES - self.sector


@dataclass(frozen=True)
class Layout:
    """What is to be. lost: what is on the disk now and would not be any more, as sentences."""

    kept: tuple[Partition, ...]
    new: tuple[Partition, ...]
    lost: tuple[str, ...]

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """All, by where they start."""
        return tuple(sorted((*self.kept, *self.new), key=lambda one: one.start))


def wanted_on(description: Description, name: str | None) -> list[Wanted]:
    """The disks of the description that are on one physical disk: on the one that has the disk `name`, or on its only
    one. DescriptionError where that is not plain.
    """
    groups: dict[tuple[object, ...], list[DiskPart]] = {}
    for part in description.disks:
        groups.setdefault((part.source, part.on), []).append(part)
    if not groups:
        raise DescriptionError(
            "the description has no disks",
            hint="add them: disks: [{name: data, to: client, on: {class: mass-storage}, size: 2 GiB}]",
        )
    chosen = [group for group in groups.values() if name in (None, *(part.name for part in group))]
    if not chosen:
        known = listing(part.name for part in description.disks)
        raise DescriptionError(f"there is no disk '{name}' in the description", hint=f"its disks: {known}")
    if len(chosen) > 1:
        sets = "; ".join(listing((part.name for part in group), "and") for group in chosen)
        raise DescriptionError(
            f"the description's disks are on {len(chosen)} physical disks, which fit by different 'on': {sets}",
            hint=f"say which one this is, by a disk on it: --disk {chosen[0][0].name}",
        )
    return [Wanted(part.name, part.to, part.size) for part in chosen[0]]


def lay_out(disk: Disk, wanted: Sequence[Wanted], guests: Sequence[str], where: str | None = None) -> Layout:
    """The table with all of `wanted`: what matches stays where it is, and the rest comes into what is free.

    guests: the description's, to name whose a partition is. DescriptionError, at `where`, for a disk that is too small.
    """
    owners = {type_of(guest): guest for guest in guests}
    by_name = {one.name: one for one in wanted}
    kept: dict[str, Partition] = {}
    lost = []
    ours = [one for one in disk.partitions if disk_of(one.name) in by_name]
    for found in disk.partitions:
        want = by_name.get(disk_of(found.name))
        if want is None or want.name in kept:
            lost.append(_called(found, owners))
        elif found.kind != type_of(want.guest):
            lost.append(f"{_called(found, owners)}, which is to be of '{want.guest}'")
        elif found.size != want.size:
            lost.append(f"{_called(found, owners)}, which is to have {size_text(want.size)}")
        elif found.name != want.part:
            lost.append(f"{_called(found, owners)}, which is to be called '{want.part}'")
        elif found.start < PART_UNIT or found.end > disk.last:
            lost.append(f"{_called(found, owners)}, which is where the table is to be")
        elif twin := next((one for one in ours if one is not found and one.overlaps(found)), None):
            # What one guest has written there is not the other's to read.
            lost.append(
                f"{_called(found, owners)}, which has blocks in common with the partition '{disk_of(twin.name)}'"
            )
        else:
            kept[want.name] = found
    for signature in disk.signatures:
        if not is_inside(signature.offset, kept.values()):
            lost.append(signature.text)
    new = _place(disk, list(kept.values()), [one for one in wanted if one.name not in kept], where)
    return Layout(tuple(kept.values()), tuple(new), tuple(lost))


def is_inside(offset: int, partitions: Iterable[Partition]) -> bool:
    """Whether an offset of the disk lies in one of the partitions: what is there belongs to a guest."""
    return any(one.start <= offset < one.end for one in partitions)


def _called(found: Partition, owners: Mapping[str, str]) -> str:
    """A partition as a message names it."""
    owner = f" of '{owners[found.kind]}'" if found.kind in owners else ""
    base = disk_of(found.name)
    name = base if found.name == part_name(base, found.kind[:8].lower()) else found.name
    return f"the partition {_quoted(name)}{owner}, {size_text(found.size)}"


def _quoted(name: str) -> str:
    return f"'{name}'" if name else "without a name"


def _place(disk: Disk, kept: list[Partition], wanted: list[Wanted], where: str | None) -> list[Partition]:
    """New partitions, each in the first gap that it fits into."""
    placed: list[Partition] = []
    for one in wanted:
        gaps = list(_gaps(disk, [*kept, *placed]))
        start = next((start for start, size in gaps if size >= one.size), None)
        if start is None:
            free = max((size for _, size in gaps), default=0)
            total = size_text(sum(each.size for each in wanted) + sum(each.size for each in kept) + 2 * PART_UNIT)
            raise DescriptionError(
                f"too small: '{one.name}' needs {size_text(one.size)}, and {size_text(free)} in one piece are free",
                hint=f"the disk has {size_text(disk.size)}; all its parts and its table need {total}",
                where=where,
            )
        placed.append(Partition(one.part, start, one.size, type_of(one.guest)))
    return placed


def _gaps(disk: Disk, taken: list[Partition]) -> list[tuple[int, int]]:
    """What is free between partitions, aligned: (start, size) in bytes, by where they start."""
    # The first MiB has the table.
    last = disk.last // PART_UNIT * PART_UNIT
    gaps, at = [], PART_UNIT
    for one in sorted(taken, key=lambda each: each.start):
        gaps.append((at, one.start // PART_UNIT * PART_UNIT - at))
        at = max(at, -(-one.end // PART_UNIT) * PART_UNIT)
    gaps.append((at, last - at))
    return [gap for gap in gaps if gap[1] > 0]
