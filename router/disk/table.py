# SPDX-License-Identifier: BSD-2-Clause
"""Reads and writes GPTs by util-linux: sfdisk(8) and wipefs(8). Root is not needed for an image."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any

from router import requirements
from router.description.values import PART_UNIT
from router.disk.layout import Disk, Partition, Signature
from router.errors import HostError

TIMEOUT_S = 120
OF_GPT = ("gpt", "PMBR")
"""What wipefs calls the marks of a GPT and of the MBR that protects it."""
BLANK = (b"\x00", b"\xff")
"""What unused disks are full of; erased flash is of ones."""


def read_disk(descriptor: int, size: int, sector: int) -> Disk:
    """What is on an open disk. size, sector: in bytes. HostError when a tool fails."""
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
    signatures = [
        Signature(_worded(one), int(one["offset"], 16)) for one in _signatures(descriptor) if one["type"] not in OF_GPT
    ]
    if label is None and not signatures:
        signatures = [
            Signature(f"data that no program here knows, at {where}", offset)
            for where, offset in (("its beginning", 0), ("its end", max(0, size - PART_UNIT)))
            if not _is_blank(os.pread(descriptor, min(size, PART_UNIT), offset))
        ]
    ident = str(answer.get("id", "")) if label == "gpt" else ""
    return Disk(size, sector, ident, partitions, tuple(signatures))


def write_table(descriptor: int, disk: Disk, partitions: Sequence[Partition], *, wipe: bool) -> None:
    """Writes the table with these partitions. wipe: the marks of what else is there go. HostError when sfdisk fails."""
    lines = ["label: gpt", *([f"label-id: {disk.ident}"] if disk.ident else []), "unit: sectors"]
    lines.append(f"first-lba: {PART_UNIT // disk.sector}")
    for one in partitions:
        place = f"start={one.start // disk.sector}, size={one.size // disk.sector}, type={one.kind}"
        lines.append(f'{place}, name="{one.name}"' + (f", uuid={one.ident}" if one.ident else ""))
    options = ["-q", "--no-reread", "--no-tell-kernel", "--wipe", "always" if wipe else "never"]
    run = _run(descriptor, "sfdisk", [*options, "--wipe-partitions", "never"], "\n".join(lines) + "\n")
    if run.returncode:
        raise _failed("sfdisk", run)


def _table(descriptor: int) -> dict[str, Any]:
    """What sfdisk reads of the table; empty where it knows none."""
    run = _run(descriptor, "sfdisk", ["--json"])
    if run.returncode and "does not contain a recognized partition table" in run.stderr:
        return {}
    if run.returncode:
        raise _failed("sfdisk", run)
    table: dict[str, Any] = json.loads(run.stdout)["partitiontable"]
    return table


def _signatures(descriptor: int) -> list[dict[str, str]]:
    run = _run(descriptor, "wipefs", ["--no-act", "--json"])
    if run.returncode:
        raise _failed("wipefs", run)
    found: list[dict[str, str]] = json.loads(run.stdout or '{"signatures": []}')["signatures"]
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
