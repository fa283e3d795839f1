# SPDX-License-Identifier: BSD-2-Clause
"""Initramfs archives: cpio "newc" out of a mapping of paths, the same bytes for the same content.

Format: Linux Documentation/driver-api/early-userspace/buffer-format.rst. The kernel accepts archives one after another,
each compressed or not, and a later entry replaces an earlier one of the same path: this is how a guest's small overlay
joins the generic image.
"""

from __future__ import annotations

import gzip
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from router.errors import DescriptionError

_ALIGN = 4
_TRAILER = "TRAILER!!!"
_NAME_LIMIT = 4096  # PATH_MAX, above which the kernel skips an entry without a word


@dataclass(frozen=True)
class FileSpec:
    """One entry: what a path of the guest's root file system is. Owner is always root, the time stamp zero.

    data: a regular file's bytes, or a symbolic link's target.
    mode: file type and permission bits as in `stat.S_IFREG | 0o644`.
    device: (major, minor) for device nodes.
    """

    data: bytes = b""
    mode: int = stat.S_IFREG | 0o644
    device: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not stat.S_IFMT(self.mode):
            object.__setattr__(self, "mode", stat.S_IFREG | self.mode)


def regular(data: bytes, mode: int = 0o644) -> FileSpec:
    """A regular file with permission bits `mode`."""
    return FileSpec(data, stat.S_IFREG | mode)


def directory(mode: int = 0o755) -> FileSpec:
    """A directory. Missing parents are created with 0755."""
    return FileSpec(b"", stat.S_IFDIR | mode)


def symlink(target: str) -> FileSpec:
    """A symbolic link to `target`."""
    return FileSpec(target.encode(), stat.S_IFLNK | 0o777)


def character_device(major: int, minor: int, mode: int = 0o600) -> FileSpec:
    """A character device node, for instance (5, 1) for /dev/console."""
    return FileSpec(b"", stat.S_IFCHR | mode, (major, minor))


def write_cpio(files: Mapping[str, bytes | FileSpec]) -> bytes:
    """The newc archive of `files` (guest path -> content), uncompressed, entries sorted by path, parents first.

    Paths may start with `/` or not. Raises DescriptionError for a path that is empty, too long or steps upwards.
    """
    entries: dict[str, FileSpec] = {}
    for path, content in files.items():
        name = _entry_name(path)
        entries[name] = content if isinstance(content, FileSpec) else regular(content)
    for name in list(entries):
        for parent in PurePosixPath(name).parents:
            if str(parent) != ".":
                entries.setdefault(str(parent), directory())
    parts = []
    size = 0
    for inode, name in enumerate(sorted(entries), start=1):
        record = _record(name, entries[name], inode)
        parts.append(record)
        size += len(record)
    parts.append(_record(_TRAILER, FileSpec(mode=stat.S_IFREG), 0))
    size += len(parts[-1])
    parts.append(bytes(-size % 512))
    return b"".join(parts)


def build_overlay(files: Mapping[str, bytes | FileSpec]) -> bytes:
    """A small gzip-compressed archive to append to an initramfs: what distinguishes one guest from its image.

    The result is padded to 4 bytes, so that another archive may follow.
    """
    packed = gzip.compress(write_cpio(files), compresslevel=9, mtime=0)
    return packed + bytes(-len(packed) % _ALIGN)


def _entry_name(path: str) -> str:
    name = path.lstrip("/")
    parts = PurePosixPath(name).parts
    if not name or ".." in parts or "\0" in name or len(name.encode()) >= _NAME_LIMIT:
        raise DescriptionError(f"{path!r} cannot be a path in a guest image", "name a file below /, without '..'")
    return str(PurePosixPath(name))


def _record(name: str, spec: FileSpec, inode: int) -> bytes:
    encoded = name.encode() + b"\0"
    # A directory's link count is 2 by convention; the kernel's unpacker compares links only above 1 for regular files.
    links = 2 if stat.S_ISDIR(spec.mode) else 1
    fields = (
        inode if inode else 0,
        spec.mode if inode else 0,
        0,
        0,
        links,
        0,
        len(spec.data),
        0,
        0,
        spec.device[0],
        spec.device[1],
        len(encoded),
        0,
    )
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    header += bytes(-len(header) % _ALIGN)
    return header + spec.data + bytes(-len(spec.data) % _ALIGN)
