# SPDX-License-Identifier: BSD-2-Clause
"""The SHA-256 of a folder's NAR serialisation: its names, contents, links and executable bits, and nothing else of it.

Format: Eelco Dolstra, "The Purely Functional Software Deployment Model" (2006), section 5.2. A string is its length
(64 bits, little-endian), its bytes, and zeros up to a multiple of 8. The archive is "nix-archive-1" and one node:

    ( type regular [executable ""] contents BYTES )
    ( type symlink target TEXT )
    ( type directory { entry ( name NAME node NODE ) }, sorted by the bytes of the names )
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from router.errors import HostError

CHUNK = 1 << 20
MAX_DEPTH = 64
"""Folders within folders; an SDK has about 8."""


def nar_sha256(root: Path, report: Callable[[int], None] = lambda _: None) -> bytes:
    """The digest (32 bytes) of what is at `root`; `report` hears how many bytes of files were read so far.

    HostError for what a NAR cannot hold (a device, a socket) and for a file that changes meanwhile; OSError.
    """
    writer = _Writer(report)
    writer.text(b"nix-archive-1")
    writer.node(os.fsencode(root.absolute()), 0)
    return writer.hash.digest()


class _Writer:
    def __init__(self, report: Callable[[int], None]) -> None:
        self.hash = hashlib.sha256()
        self._report = report
        self._read = 0

    def text(self, *strings: bytes) -> None:
        for string in strings:
            self.hash.update(struct.pack("<Q", len(string)) + string + bytes(-len(string) % 8))

    def node(self, path: bytes, depth: int) -> None:
        mode = os.lstat(path).st_mode
        self.text(b"(", b"type")
        if stat.S_ISREG(mode):
            self._regular(path)
        elif stat.S_ISLNK(mode):
            self.text(b"symlink", b"target", os.readlink(path))  # noqa: PTH115 (paths are bytes here)
        elif stat.S_ISDIR(mode) and depth < MAX_DEPTH:
            self.text(b"directory")
            for name in sorted(os.listdir(path)):  # noqa: PTH208
                self.text(b"entry", b"(", b"name", name, b"node")
                self.node(path + b"/" + name, depth + 1)
                self.text(b")")
        else:
            kind = f"more than {MAX_DEPTH} folders deep" if stat.S_ISDIR(mode) else "not a file, link or folder"
            raise HostError(f"it cannot be hashed: it is {kind}", where=os.fsdecode(path))
        self.text(b")")

    def _regular(self, path: bytes) -> None:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
            seen = os.fstat(file.fileno())
            self.text(b"regular")
            if seen.st_mode & stat.S_IXUSR:
                self.text(b"executable", b"")
            self.text(b"contents")
            self.hash.update(struct.pack("<Q", seen.st_size))
            left = seen.st_size
            while chunk := file.read(CHUNK):
                self.hash.update(chunk)
                left -= len(chunk)
                self._read += len(chunk)
                self._report(self._read)
            if left:
                raise HostError("the file changed while it was hashed", where=os.fsdecode(path))
            self.hash.update(bytes(-seen.st_size % 8))
