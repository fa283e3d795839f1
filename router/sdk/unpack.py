# SPDX-License-Identifier: BSD-2-Clause
"""Unpacks the archive of an SDK, which may be anything, into an empty private folder.

tarfile reads the headers and nothing more: folders, files and links are made here. Every folder that is written to was
made here as well, and links come last, so nothing is ever written through a link. Owners, times and modes of the
archive are not taken over; only "executable by its owner" is. Its first gzip stream's bytes, all headers, the number
of entries and every single read are bounded.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from router.display import safe
from router.errors import HostError
from router.sdk.nar import MAX_DEPTH

MAX_READ = 1 << 17
"""Bytes; also the longest name or extended header that an entry may have."""
MAX_GLOBAL_HEADERS = 100


@dataclass(frozen=True)
class Bounds:
    """What an unpacked SDK may take: ten times what 100 configurations have, of about 100 files and 3 MB each."""

    entries: int = 100_000
    size: int = 3 << 30
    """Bytes, tar headers included."""


DAMAGED = (
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    # What tarfile lets out for numbers and names in hostile headers, and for headers that nest.
    ValueError,
    OverflowError,
    RecursionError,
)


def unpack(
    archive: BinaryIO, folder: Path, top: str, bounds: Bounds = Bounds(), report: Callable[[int], None] = lambda _: None
) -> bytes:
    """Unpack a gzipped tar whose entries are all below `top` into `folder`; the SHA-256 of the archive's bytes.

    archive: read once, from its position to its end. folder: empty, and no other user's.
    report: hears how many bytes are unpacked so far.
    HostError for an archive that is damaged or holds what an SDK does not; OSError when writing fails. What was
    unpacked until then is left to the caller.
    """
    source = _Hashed(archive)
    with gzip.GzipFile(fileobj=cast(BinaryIO, source), mode="rb") as stream:
        reader = _Forward(cast(BinaryIO, stream), bounds.size)
        try:
            with tarfile.TarFile(fileobj=cast(BinaryIO, reader), encoding="utf-8") as tar:
                target = _Target(folder, top, bounds)
                while (member := tar.next()) is not None:
                    target.add(member, tar)
                    report(reader.position)
                    # tarfile would keep them all, with their extended headers.
                    tar.members.clear()  # type: ignore[attr-defined]
                    if len(tar.pax_headers) > MAX_GLOBAL_HEADERS:
                        raise tarfile.ReadError("it has too many global headers")
                target.make_links()
        except DAMAGED as error:
            raise HostError(f"the archive is damaged: {_shown(error)}") from None
    while source.read(MAX_READ):
        pass
    return source.hash.digest()


class _Hashed:
    """The archive, hashed as it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


class _Forward:
    """What tarfile reads from: forward only, at most `size` bytes in all, and not much at once.

    tarfile asks for a whole long name or extended header in one read, of the length that the header claims.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self.position = 0

    def tell(self) -> int:
        return self.position

    def seekable(self) -> bool:
        return True

    def seek(self, position: int) -> int:
        while self.position < position:
            if not self.read(min(MAX_READ, position - self.position)):
                break
        if self.position > position:
            raise tarfile.ReadError("its entries are out of order")
        return self.position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_READ:
            raise tarfile.ReadError("a header is too long")
        data = self._stream.read(size)
        self.position += len(data)
        if self.position > self._size:
            raise _too_large(self._size)
        return data


class _Target:
    """The folder that is filled. Paths are tuples of names below it."""

    def __init__(self, folder: Path, top: str, bounds: Bounds) -> None:
        self._folder = folder
        self._top = top
        self._bounds = bounds
        self._folders: set[tuple[str, ...]] = {()}
        self._files: set[tuple[str, ...]] = set()
        self._links: dict[tuple[str, ...], str] = {}
        self._entries = 0

    def add(self, member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
        self._count()
        parts = self._parts(member.name)
        if not parts:
            return  # "./"
        if member.isdir():
            self._make_folders(parts)
            return
        self._make_folders(parts[:-1])
        if parts in self._folders or parts in self._files or parts in self._links:
            raise _refused(member.name, "is there twice")
        if member.issym():
            self._links[parts] = member.linkname
        elif member.isreg() and not member.issparse():
            self._write(parts, member, tar)
        elif member.islnk():
            raise _refused(member.name, "is a hard link")
        else:
            raise _refused(member.name, "is not a file, link or folder")

    def make_links(self) -> None:
        """Symbolic links, once all that they may lead to is there."""
        for parts, target in self._links.items():
            if not self._leads_inside(parts, target):
                raise _refused("/".join(parts), "is a link to something else than a file or folder of the SDK")
            self._path(parts).symlink_to(target)

    def _count(self) -> None:
        self._entries += 1
        if self._entries > self._bounds.entries:
            raise HostError(f"the archive is refused: it has more than {self._bounds.entries} entries")

    def _parts(self, name: str) -> tuple[str, ...]:
        parts = tuple(part for part in name.split("/") if part not in ("", "."))
        if name.startswith("/") or ".." in parts:
            raise _refused(name, "leads out of the SDK's folder")
        if not name.isprintable() or "\\" in name:
            raise _refused(name, "has a name with control characters, bytes that are not UTF-8, or a backslash")
        if len(parts) > MAX_DEPTH:
            raise _refused(name, "is too many folders deep")
        if parts and parts[0] != self._top:
            raise _refused(name, f"is outside of {self._top}/, the only folder that it should have")
        return parts

    def _make_folders(self, parts: tuple[str, ...]) -> None:
        for depth in range(1, len(parts) + 1):
            above = parts[:depth]
            if above in self._folders:
                continue
            self._count()
            if above in self._files or above in self._links:
                raise _refused("/".join(parts), "is below something that is not a folder")
            path = self._path(above)
            path.mkdir()
            path.chmod(0o755)
            self._folders.add(above)

    def _write(self, parts: tuple[str, ...], member: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
        if member.size > self._bounds.size:
            raise _too_large(self._bounds.size)
        content = tar.extractfile(member)
        assert content is not None, "a regular file has content"
        handle = os.open(self._path(parts), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file, content:
            shutil.copyfileobj(content, file, MAX_READ >> 1)
            if file.tell() != member.size:
                raise tarfile.ReadError("it ends in the middle of a file")
            os.fchmod(handle, 0o755 if member.mode & 0o100 else 0o644)
        self._files.add(parts)

    def _leads_inside(self, link: tuple[str, ...], target: str) -> bool:
        """Whether a relative link reaches a file or folder that was unpacked, without another link on the way."""
        if not target or target.startswith("/") or not target.isprintable():
            return False
        here = list(link[:-1])
        for part in target.split("/"):
            if tuple(here) not in self._folders:
                return False
            if part == "..":
                if len(here) <= 1:
                    return False
                here.pop()
            elif part not in ("", "."):
                here.append(part)
        return tuple(here) in self._folders or tuple(here) in self._files

    def _path(self, parts: tuple[str, ...]) -> Path:
        return self._folder.joinpath(*parts)


def _too_large(size: int) -> HostError:
    return HostError(f"the archive is refused: unpacked it is larger than {size / 1e9:.1f} GB")


def _refused(name: str, why: str) -> HostError:
    return HostError(f"the archive is refused: {name[:100]!r} {why}")


def _shown(error: BaseException) -> str:
    """What a library says of hostile bytes, on one printable line."""
    text = "headers nest too deep" if isinstance(error, RecursionError) else str(error)
    return safe(text[:120]) or type(error).__name__
