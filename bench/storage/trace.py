# SPDX-License-Identifier: BSD-2-Clause
"""What the server's kernel traced of its disks: whose blocks were written, and how long the flushes took.

Events of include/trace/events/block.h. block_bio_queue has the writes as they are asked for, block_rq_issue and
block_rq_complete have the disk's requests. Sectors of 512 bytes, counted from the start of the whole disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

SECTOR = 512
EVENTS = ("block_bio_queue", "block_rq_issue", "block_rq_complete")
_LINE = re.compile(
    r"\s(?P<seconds>\d+\.\d+): (?P<event>block_\w+): (?P<major>\d+),(?P<minor>\d+) (?P<flags>\w+) "
    r"(?:\d+ )?(?:\([^)]*\) )?(?P<sector>\d+) \+ (?P<sectors>\d+) \[(?P<by>[^]]*)\]"
)
OWN = ""
"""The owner of what belongs to no guest: the server's journal and metadata."""


@dataclass(frozen=True)
class Event:
    """A traced event. flags: as the kernel writes them, F first for a flush before it, W for a write."""

    seconds: float
    name: str
    device: str
    flags: str
    sector: int
    sectors: int

    @property
    def flushes(self) -> bool:
        """Whether it is the disk's own flush request."""
        return self.flags.startswith("FF")

    @property
    def writes(self) -> bool:
        """Whether it has data that are written."""
        return "W" in self.flags and self.sectors > 0


@dataclass(frozen=True)
class Range:
    """Sectors of a guest: start, and the first one behind."""

    owner: str
    start: int
    end: int


@dataclass(frozen=True)
class Window:
    """What happened while one guest alone synced a page.

    written: bytes by owner. flushes: seconds of each of the disk's flushes.
    """

    written: Mapping[str, int]
    flushes: tuple[float, ...]

    def others(self, guest: str) -> int:
        """Bytes of other guests' blocks."""
        return sum(size for owner, size in self.written.items() if owner not in (guest, OWN))


def parse(text: str, device: str) -> list[Event]:
    """The events of one disk ("8:16") in what tracefs gives; other lines are left out."""
    found = []
    for line in text.splitlines():
        match = _LINE.search(line)
        if match and f"{match['major']}:{match['minor']}" == device:
            event = Event(
                float(match["seconds"]),
                match["event"],
                device,
                match["flags"],
                int(match["sector"]),
                int(match["sectors"]),
            )
            found.append(event)
    return found


def split_by_owner(sector: int, sectors: int, ranges: Sequence[Range]) -> dict[str, int]:
    """Bytes of a write by the owners of its sectors."""
    sizes: dict[str, int] = {}
    for each in ranges:
        common = min(sector + sectors, each.end) - max(sector, each.start)
        if common > 0:
            sizes[each.owner] = sizes.get(each.owner, 0) + common * SECTOR
    if own := sectors * SECTOR - sum(sizes.values()):
        sizes[OWN] = own
    return sizes


def window(events: Iterable[Event], ranges: Sequence[Range]) -> Window:
    """Sum up. ranges: of that disk, without overlap."""
    written: dict[str, int] = {}
    flushes: list[float] = []
    issued: float | None = None
    for event in events:
        if event.name == "block_bio_queue" and event.writes:
            for owner, size in split_by_owner(event.sector, event.sectors, ranges).items():
                written[owner] = written.get(owner, 0) + size
        elif event.flushes and event.name == "block_rq_issue":
            # Linux has one flush of a disk under way at a time (block/blk-flush.c).
            issued = event.seconds
        elif event.flushes and event.name == "block_rq_complete" and issued is not None:
            flushes.append(event.seconds - issued)
            issued = None
    return Window(written, tuple(flushes))
