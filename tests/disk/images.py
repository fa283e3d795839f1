# SPDX-License-Identifier: BSD-2-Clause
"""Images of disks, and what is in them, for the tests of `router disk`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from router.requirements import look_for
from router.usbip.protocol.disks import disk_of

MIB = 1 << 20
TEXT = """
system: disks
board: qemu
guests:
  server: {image: usb-server, passthrough: [pcie@3f000000]}
  a: {image: usb-client}
  b: {image: usb-client}
disks:
  - {name: data-a, to: a, on: {class: mass-storage}, size: 4 MiB}
  - {name: data-b, to: b, on: {class: mass-storage}, size: 2 MiB}
"""

needs_tools = pytest.mark.skipif(
    not (look_for("sfdisk") and look_for("wipefs") and look_for("mke2fs")), reason="sfdisk, wipefs or mke2fs is missing"
)

Says = Callable[..., tuple[int, str, str]]


def table(image: Path) -> list[dict[str, Any]]:
    """What sfdisk shows, the names without what they say of their guests where that fits the type."""
    run = subprocess.run([look_for("sfdisk") or "", "--json", image], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(run.stdout)["partitiontable"]["partitions"]
    for one in found:
        one["name"] = disk_of(one["name"]) if one["name"].endswith(f":{one['type'][:8].lower()}") else one["name"]
    return found


def partition(image: Path, script: str) -> None:
    command = [look_for("sfdisk") or "", "-q", "--no-reread", "--no-tell-kernel", str(image)]
    subprocess.run(command, input=script, text=True, check=True)


def put(image: Path, offset: int, data: bytes) -> None:
    with image.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def content(image: Path, offset: int, size: int) -> bytes:
    with image.open("rb") as file:
        file.seek(offset)
        return file.read(size)
