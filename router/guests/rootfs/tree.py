# SPDX-License-Identifier: BSD-2-Clause
"""Packages unpacked into a folder by a user who is not root: what only root could write is noted instead."""

from __future__ import annotations

import os
import posixpath
import stat
import subprocess
import tarfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from router import requirements
from router.errors import HostError
from router.guests.debs import damaged
from router.guests.rootfs.ext4 import check_name

MERGED = ("bin", "sbin", "lib")
"""Folders of the root that are links into /usr (Debian's merged /usr, the only layout since Debian 12)."""
MAX_LINKS = 40
"""As Linux has it (path_resolution(7))."""


@dataclass
class Tree:
    """A folder that becomes a root file system. owners: path -> (user, group) where that is not root's."""

    root: Path
    owners: dict[str, tuple[int, int]] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    """Of folders, set at the end: one that nobody may write to could not be filled."""

    def prepare(self) -> None:
        """The layout that packages expect to find."""
        for name in MERGED:
            (self.root / "usr" / name).mkdir(parents=True)
            (self.root / name).symlink_to(f"usr/{name}")

    def place(self, path: str) -> Path:
        """Where `path` lies in the folder, links of the tree followed as they lead in the guest; its last part not.

        HostError for links in a circle. Nothing outside the folder is ever meant.
        """
        parts = [part for part in path.split("/") if part not in ("", ".")]
        done: list[str] = []
        links = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                done[-1:] = []
                continue
            here = self.root.joinpath(*done, part)
            if parts and here.is_symlink():
                links += 1
                if links > MAX_LINKS:
                    raise HostError(f"links of the packages lead in a circle at /{path}", "leave one of them out")
                target = str(here.readlink())
                if target.startswith("/"):
                    done = []
                parts = [each for each in target.split("/") if each not in ("", ".")] + parts
                continue
            done.append(part)
        return self.root.joinpath(*done)

    def name(self, place: Path) -> str:
        """The path in the guest of a place."""
        return str(place.relative_to(self.root))

    def unpack(self, deb: Path, new: Collection[str], suffix: str) -> list[str]:
        """Unpack a package; its paths. The regular files `new` get `suffix` behind their names."""
        command = [requirements.find("dpkg-deb"), "--fsys-tarfile", str(deb)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None and process.stderr is not None
        paths = []
        with process:
            try:
                with tarfile.open(fileobj=process.stdout, mode="r|", bufsize=1 << 20) as archive:
                    for item in archive:
                        path = posixpath.normpath(item.name).lstrip("/")
                        if path != ".":
                            paths.append(path)
                            self._unpack(archive, item, path + (suffix if path in new and item.isreg() else ""))
                while process.stdout.read(1 << 16):  # padding: dpkg-deb would die of a broken pipe
                    continue
            except tarfile.TarError as error:
                raise HostError(
                    f"cannot read the package: {error}", "remove it, and it is fetched again", str(deb)
                ) from (error)
            message = process.stderr.read().decode(errors="replace").strip()
        if process.returncode:
            raise damaged(deb, message)
        return paths

    def _unpack(self, archive: tarfile.TarFile, item: tarfile.TarInfo, path: str) -> None:
        place = self.place(path)
        check_name(self.name(place))  # links are followed: one may lead to such a name
        mode = stat.S_IMODE(item.mode)
        if item.isdir():
            if place.is_symlink():  # of the merged layout, or another package's
                return
            place.mkdir(parents=True, exist_ok=True)
            self.modes[self.name(place)] = mode
        elif item.issym():
            self._clear(place)
            place.symlink_to(item.linkname)
        elif item.islnk():
            self._clear(place)
            os.link(self.place(posixpath.normpath(item.linkname)), place, follow_symlinks=False)
        elif item.isreg():
            content = archive.extractfile(item)
            assert content is not None
            self._clear(place)
            with place.open("wb") as file:
                while block := content.read(1 << 20):
                    file.write(block)
            place.chmod(mode)
            os.utime(place, (item.mtime, item.mtime))
        else:
            raise HostError(f"the package holds a device or pipe, /{path}", "leave the package out")
        self.owners.pop(self.name(place), None)
        if (item.uid, item.gid) != (0, 0):
            self.owners[self.name(place)] = (item.uid, item.gid)

    def write(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """A file of root's."""
        place = self.place(path)
        self._clear(place)
        place.write_bytes(data)
        place.chmod(mode)

    def link(self, path: str, target: str) -> None:
        """A symbolic link, unless something is there."""
        place = self.place(path)
        if not place.is_symlink() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)

    def finish(self) -> None:
        """Give folders their modes. Call once, at the end."""
        for path in sorted(self.modes, reverse=True):
            (self.root / path).chmod(self.modes[path])

    @staticmethod
    def _clear(place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink() or place.exists():
            place.unlink()
