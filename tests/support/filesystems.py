# SPDX-License-Identifier: BSD-2-Clause
"""Disks as people have them, made as files without root: one file system each, and all of them as partitions of one."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MiB = 1 << 20
HELLO = "hello from the disk\n"
"""What `hello.txt` of a file system says, where its tools can write a file into it without mounting it."""


@dataclass(frozen=True)
class FileSystem:
    """A kind of file system: what mount calls it, the program that makes it, and whether that can write a file."""

    kind: str
    program: str
    size: int
    filled: bool = True
    writable: bool = True


FILE_SYSTEMS = (
    FileSystem("ext4", "mke2fs", 16 * MiB),
    FileSystem("vfat", "mkfs.vfat", 16 * MiB),
    FileSystem("exfat", "mkfs.exfat", 16 * MiB, filled=False),
    FileSystem("iso9660", "genisoimage", 4 * MiB, writable=False),
    FileSystem("udf", "mkudffs", 16 * MiB, filled=False),
    FileSystem("btrfs", "mkfs.btrfs", 128 * MiB),
    FileSystem("xfs", "mkfs.xfs", 320 * MiB),
    FileSystem("ntfs", "mkntfs", 8 * MiB, filled=False),
)
LINUX_DATA = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
"""Partition type GUID of Linux file systems (UEFI Specification and the Discoverable Partitions Specification)."""


def needs_tools() -> None:
    """Skip the test where a program is missing that makes one of the file systems."""
    missing = [
        name for name in (*(one.program for one in FILE_SYSTEMS), "mcopy", "sfdisk") if shutil.which(name) is None
    ]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def make(system: FileSystem, path: Path) -> None:
    """The file system as a file of its own, sparse, with the label of its kind."""
    content = path.with_suffix(".content")
    content.mkdir()
    (content / "hello.txt").write_text(HELLO)
    if system.kind != "iso9660":
        with path.open("wb") as file:
            file.truncate(system.size)
    label = system.kind.upper()
    commands: dict[str, list[list[str | Path]]] = {
        "ext4": [["mke2fs", "-q", "-t", "ext4", "-L", label, "-d", content, path]],
        "vfat": [["mkfs.vfat", "-n", label, path], ["mcopy", "-i", path, content / "hello.txt", "::hello.txt"]],
        "exfat": [["mkfs.exfat", "-L", label, path]],
        "iso9660": [["genisoimage", "-quiet", "-J", "-R", "-V", label, "-o", path, content]],
        "udf": [["mkudffs", "--blocksize=512", f"--label={label}", path]],
        "btrfs": [["mkfs.btrfs", "-q", "-L", label, "--rootdir", content, path]],
        "xfs": [["mkfs.xfs", "-q", "-L", label, "-p", prototype(content), path]],
        "ntfs": [["mkntfs", "-Q", "-F", "-q", "-L", label, path]],
    }
    for command in commands[system.kind]:
        subprocess.run(command, check=True, capture_output=True)


def prototype(content: Path) -> Path:
    """mkfs.xfs's description of what to put into a file system (mkfs.xfs(8), -p)."""
    path = content.with_suffix(".prototype")
    path.write_text(f"/\n0 0\nd--755 0 0\nhello.txt ---644 0 0 {content / 'hello.txt'}\n$\n$\n")
    return path


def one_disk(path: Path, folder: Path) -> dict[str, int]:
    """All kinds as GPT partitions of one disk: kind → number of its partition."""
    lines = ["label: gpt"]
    parts = []
    start = MiB
    for system in FILE_SYSTEMS:
        part = folder / f"{system.kind}.part"
        make(system, part)
        lines.append(f"start={start // 512}, size={system.size // 512}, type={LINUX_DATA}")
        parts.append((start, part))
        start += system.size
    with path.open("wb") as disk:
        disk.truncate(start + MiB)
    for at, part in parts:
        write = ["dd", f"if={part}", f"of={path}", "bs=1M", f"seek={at // MiB}", "conv=notrunc,sparse"]
        subprocess.run(write, check=True, capture_output=True)
        part.unlink()
    subprocess.run(["sfdisk", "-q", path], input="\n".join(lines) + "\n", text=True, check=True, capture_output=True)
    return {system.kind: number for number, system in enumerate(FILE_SYSTEMS, 1)}
