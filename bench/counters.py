# SPDX-License-Identifier: BSD-2-Clause
"""What the protection domains of a running system have counted (common/counts.h), read from the machine's memory.

QEMU's monitor reads it, so the system has no way out for it, and release configurations have it as well. Where a
domain's memory lies is Microkit's decision, so it is searched once in the RAM that no region of the plan has at a fixed
place: guests cannot write there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from router import resources
from router.errors import MachineError
from router.machines.qemu.microkit import MicrokitRun
from router.machines.qemu.qmp import Qmp
from router.plan.models import SystemPlan

MiB = 1 << 20
STEP = 32 * MiB
"""How much is searched at a time."""
PAGE = 4096
HEAD = struct.Struct("<16sQQ64s")
"""struct counts without its counts: magic, address, hertz, name."""
FLUSHES = re.compile(r"TLB (?:full|partial) flushes\s+(\d+)")
VIRTUAL = ("-icount", "shift=1,sleep=off")
"""QEMU's words for time that only instructions advance, 2 ns each: other load on this computer changes no count."""
NO_COUNTS = frozenset({"images", "ticker", "idle"})
"""The first is over before anything is read; the others do one thing, which another domain counts."""
Counts = dict[str, dict[str, float]]
"""By protection domain and name of the count."""


def header() -> str:
    """The text of the list of counts."""
    return (resources.root() / "common" / "counts.h").read_text()


def meanings(text: str) -> dict[str, str]:
    """Name and meaning of each count, in the order in which they lie in memory."""
    return dict(re.findall(r'\bX\((\w+), "([^"]+)"\)', text))


def magic(text: str) -> bytes:
    """The 16 bytes that counts begin with."""
    words = re.findall(r"#define COUNTS_MAGIC_\d (0x[0-9a-f]{16})ULL", text)
    return struct.pack("<2Q", *(int(word, 16) for word in words))


def free_ram(plan: SystemPlan) -> list[tuple[int, int]]:
    """Start and end of each piece of the board's RAM in which no region of the plan has a fixed place, in order."""
    at, end = plan.board.ram.start, plan.board.ram.end
    pieces = []
    physical = [region.physical for region in plan.regions if region.physical is not None]
    placed = sorted((each.start, each.end) for each in physical if at <= each.start < end)
    for start, stop in [*placed, (end, end)]:
        if start > at:
            pieces.append((at, start))
        at = max(at, stop)
    return pieces


class Counters:
    """Reads the counts of a system on seL4. folder: for files that are removed at once; QEMU writes them."""

    def __init__(self, system: MicrokitRun, folder: Path) -> None:
        text = header()
        self.plan = system.plan
        self.names = tuple(meanings(text))
        self.hertz = 0
        self._magic = magic(text)
        self._qmp: Qmp = next(iter(system.guests.values())).qmp
        self._file = folder / "memory"
        self._places: dict[str, int] = {}

    def _memory(self, start: int, size: int) -> bytes:
        try:
            self._qmp.execute("pmemsave", val=start, size=size, filename=str(self._file))
            return self._file.read_bytes()
        finally:
            self._file.unlink(missing_ok=True)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The machine stands still, so that all is read at one moment."""
        self._qmp.execute("stop")
        try:
            yield
        finally:
            self._qmp.execute("cont")

    def find(self) -> None:
        """Find the counts of all domains that count. MachineError when a domain's are missing."""
        wanted = {pd.name for pd in self.plan.pds} - NO_COUNTS
        for start, end in free_ram(self.plan):
            for at in range(start, end, STEP):
                self._search(at, self._memory(at, min(STEP, end - at)))
                if wanted <= self._places.keys():
                    return
        missing = ", ".join(sorted(wanted - self._places.keys()))
        raise MachineError(f"no counts of {missing} in the machine's memory", hint="is it up?")

    def _search(self, base: int, memory: bytes) -> None:
        found = memory.find(self._magic)
        while found >= 0:
            _, address, hertz, name = HEAD.unpack_from(memory.ljust(found + HEAD.size, b"\0"), found)
            # The structure knows its own address, and a page keeps the lowest bits of it.
            if address % PAGE == (base + found) % PAGE:
                self._places[name.rstrip(b"\0").decode("ascii", "replace")] = base + found
                self.hertz = hertz
            found = memory.find(self._magic, found + 1)

    def read(self) -> Counts:
        """All counts so far, and what QEMU counts itself."""
        if not self._places:
            with self.stopped():
                self.find()
        size = HEAD.size + 8 * len(self.names)
        found: Counts = {}
        with self.stopped():
            for domain, place in sorted(self._places.items()):
                values = struct.unpack_from(f"<{len(self.names)}Q", self._memory(place, size), HEAD.size)
                found[domain] = dict(zip(self.names, values, strict=True))
            found["qemu"] = {"TLB_FLUSHES": self._flushes()}
        return found

    def _flushes(self) -> int:
        said = str(self._qmp.execute("human-monitor-command", command_line="info jit"))
        numbers = FLUSHES.findall(said)
        if not numbers:
            raise MachineError("QEMU does not say how often it flushed its TLB", hint=said[-300:])
        return sum(map(int, numbers))


def difference(before: Counts, after: Counts) -> Counts:
    """What happened between two readings; the moments of AT_... are left out."""
    return {
        domain: {name: value - before[domain][name] for name, value in counts.items() if not name.startswith("AT_")}
        for domain, counts in after.items()
    }


def total(counts: Mapping[str, Mapping[str, float]], *names: str) -> float:
    """The sum of these counts over all domains. A name that ends with `_` stands for all that begin with it."""
    return sum(
        value
        for each in counts.values()
        for name, value in each.items()
        if any(name == wanted or (wanted.endswith("_") and name.startswith(wanted)) for wanted in names)
    )
