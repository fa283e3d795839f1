# SPDX-License-Identifier: BSD-2-Clause
"""Reads and writes GPTs by util-linux: sfdisk(8) and wipefs(8). Root is not needed for an image."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Sequence
from typing import Any

from router import requirements
from router.description.values import PART_UNIT
from router.disk.layout import Disk, Partition, Signature, is_inside
from router.disk.opened import SECTOR
from router.errors import HostError
from router.words import size_text

TIMEOUT_S = 120
MAX_MARKS = 64
OF_GPT = ("gpt", "PMBR")
"""What wipefs calls the marks of a GPT and of the MBR that protects it."""
UNREADABLE = "a GPT that cannot be read: it is damaged, its end is cut off, or its sectors have another size"
MBR_ENTRIES, MBR_ENTRY, PROTECTIVE = 446, struct.Struct("<4xB3xII"), 0xEE
"""An MBR's four partitions: where they stand, and each one's type, start and size in sectors (UEFI 2.10, 5.2.1)."""
BOOT_CODE = 440
"""Bytes of an MBR before what says where partitions are (UEFI 2.10, 5.2.1)."""
BLANK = (b"\x00", b"\xff")
"""What unused disks are full of; erased flash is of ones."""


def read_disk(descriptor: int, size: int, sector: int) -> Disk:
    """What is on an open disk. size, sector: in bytes. HostError when a tool fails."""
    if size < sector:
        # The tools do not open it.
        return Disk(size, sector)
    answer = _table(descriptor)
    label = answer.get("label")
    partitions: tuple[Partition, ...] = ()
    if label == "gpt":
        unit = int(answer.get("sectorsize", sector))
        partitions = tuple(
            Partition(
                str(one.get("name", "")),
                int(one["start"]) * unit,
                int(one["size"]) * unit,
                str(one["type"]).upper(),
                str(one.get("uuid", "")).upper(),
            )
            for one in answer.get("partitions", [])
        )
    signatures = _signatures(descriptor)
    if label == "gpt":
        signatures += _hybrid(os.pread(descriptor, SECTOR, 0), size)
    elif label is not None and not signatures:
        # Its MBR says that a GPT follows, and there is none that can be read with this size and these sectors.
        signatures = [Signature(UNREADABLE if label == "dos" else f"a partition table that sfdisk calls {label}", 0)]
    if label is None and not signatures:
        signatures = [
            Signature(f"data that no program here knows, at {where}", offset)
            for where, offset in (("its beginning", 0), ("its end", max(0, size - PART_UNIT)))
            if not _is_blank(os.pread(descriptor, min(size, PART_UNIT), offset))
        ]
    ident = str(answer.get("id", "")) if label == "gpt" else ""
    return Disk(size, sector, ident, partitions, tuple(signatures))


def write_table(descriptor: int, disk: Disk, partitions: Sequence[Partition]) -> None:
    """Writes the table with these partitions; the marks of what else stands outside them go. HostError when a tool
    fails.
    """
    _wipe(descriptor, partitions)
    lines = ["label: gpt", *([f"label-id: {disk.ident}"] if disk.ident else []), "unit: sectors"]
    lines.append(f"first-lba: {PART_UNIT // disk.sector}")
    for one in partitions:
        place = f"start={one.start // disk.sector}, size={one.size // disk.sector}, type={one.kind}"
        lines.append(f'{place}, name="{one.name}"' + (f", uuid={one.ident}" if one.ident else ""))
    # sfdisk would wipe inside the partitions too: some marks, such as VMFS's, lie MiBs behind a disk's beginning.
    options = ["-q", "--no-reread", "--no-tell-kernel", "--wipe", "never", "--wipe-partitions", "never"]
    run = _run(descriptor, "sfdisk", options, "\n".join(lines) + "\n")
    if run.returncode:
        raise _failed("sfdisk", run)


def _wipe(descriptor: int, partitions: Sequence[Partition]) -> None:
    for _ in range(MAX_MARKS):
        # One may have hidden another.
        offsets = {one.offset for one in _signatures(descriptor) if not is_inside(one.offset, partitions)}
        if not offsets:
            return
        if min(offsets) < SECTOR:
            # FAT is known by the rest of its first sector too, which sfdisk keeps as a program to boot.
            os.pwrite(descriptor, bytes(BOOT_CODE), 0)
        # Forced: it wants the device for itself, which this program has already.
        words = [word for offset in sorted(offsets) for word in ("--offset", str(offset))]
        run = _run(descriptor, "wipefs", ["--force", "--quiet", *words])
        if run.returncode:
            raise _failed("wipefs", run)


def _table(descriptor: int) -> dict[str, Any]:
    """What sfdisk reads of the table; empty where it knows none."""
    run = _run(descriptor, "sfdisk", ["--json"])
    if run.returncode and "does not contain a recognized partition table" in run.stderr:
        return {}
    if run.returncode:
        raise _failed("sfdisk", run)
    table: dict[str, Any] = json.loads(run.stdout)["partitiontable"]
    return table


def _signatures(descriptor: int) -> list[Signature]:
    """What wipefs finds that is not of a GPT."""
    run = _run(descriptor, "wipefs", ["--no-act", "--json"])
    if run.returncode:
        raise _failed("wipefs", run)
    found: list[dict[str, str]] = json.loads(run.stdout or '{"signatures": []}')["signatures"]
    return [Signature(_worded(one), int(one["offset"], 16)) for one in found if one["type"] not in OF_GPT]


def _hybrid(mbr: bytes, size: int) -> list[Signature]:
    """Partitions that the MBR before a GPT has of its own: a new table's MBR has none."""
    found = []
    for index in range(4):
        offset = MBR_ENTRIES + index * MBR_ENTRY.size
        kind, start, sectors = MBR_ENTRY.unpack_from(mbr, offset)
        if kind not in (0, PROTECTIVE) and sectors:
            length = size_text(min(sectors * SECTOR, max(0, size - start * SECTOR)))
            found.append(Signature(f"the partition {index + 1} of a hybrid MBR, {length}", offset))
    return found


def _worded(signature: dict[str, str]) -> str:
    label = f" '{signature['label']}'" if signature.get("label") else ""
    return f"what wipefs calls {signature['type']}{label}"


def _is_blank(data: bytes) -> bool:
    return any(data == byte * len(data) for byte in BLANK)


def _run(descriptor: int, tool: str, options: list[str], script: str | None = None) -> subprocess.CompletedProcess[str]:
    # By the descriptor: the tool has the disk that is open here, whatever has its name meanwhile.
    return subprocess.run(
        [requirements.find(tool), *options, f"/proc/self/fd/{descriptor}"],
        input=script,
        stdin=subprocess.DEVNULL if script is None else None,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_S,
        check=False,
        pass_fds=(descriptor,),
        env={**os.environ, "LC_ALL": "C"},
    )


def _failed(tool: str, run: subprocess.CompletedProcess[str]) -> HostError:
    said = (run.stderr.strip() or run.stdout.strip()).splitlines()
    return HostError(f"{tool} failed: {said[-1] if said else f'exit code {run.returncode}'}")
