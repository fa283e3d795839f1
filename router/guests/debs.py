# SPDX-License-Identifier: BSD-2-Clause
"""Reading .deb files without installing them: members of the data archive, no maintainer scripts."""

from __future__ import annotations

import posixpath
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from router import requirements
from router.errors import HostError


@dataclass(frozen=True)
class PackageFile:
    """A file of a package: `path` relative to the root, without `./`; `link` is a symbolic or hard link's target.

    date: seconds since 1970, from the package's own archive.
    """

    path: str
    mode: int
    data: bytes
    link: str | None = None
    date: int = 0


def members(deb: Path, wanted: Callable[[str], bool] = lambda path: True) -> Iterator[PackageFile]:
    """The regular files and links whose path is `wanted`, in one pass over the stream; nothing is written to disk."""
    command = [requirements.find("dpkg-deb"), "--fsys-tarfile", str(deb)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    with process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|", bufsize=1 << 20) as archive:
                for item in archive:
                    path = posixpath.normpath(item.name).lstrip("/")
                    if not wanted(path):
                        continue
                    if item.isreg():
                        content = archive.extractfile(item)
                        assert content is not None
                        yield PackageFile(path, item.mode, content.read(), date=int(item.mtime))
                    elif item.issym():
                        yield PackageFile(path, item.mode, b"", item.linkname)
                    elif item.islnk():
                        yield PackageFile(path, item.mode, b"", "/" + posixpath.normpath(item.linkname))
            # The stream may carry padding after the archive's end: read it, or dpkg-deb dies of a broken pipe.
            while process.stdout.read(1 << 16):
                continue
        except tarfile.TarError as error:
            raise damaged(deb, str(error)) from error
        message = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise damaged(deb, message)


def damaged(deb: Path, why: str) -> HostError:
    """The error for a .deb file that cannot be read."""
    return HostError(f"cannot read the package: {why}", "remove it, and it is fetched again", str(deb))
