# SPDX-License-Identifier: BSD-2-Clause
"""What a description adds to an image: the content of whole packages, a folder of files, a program to start."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from router.description.guest_image import OwnParts
from router.description.own_files import entries
from router.guests.cpio import FileSpec, directory, regular
from router.guests.debs import PackageFile

RUN = "etc/router/run"
"""Where the program lies in the guest; `late` starts it."""
_DATA = ("usr/share/", "etc/")
_UNWANTED = (
    *("usr/share/doc/", "usr/share/bash-completion/", "usr/share/zsh/", "usr/share/lintian/", "usr/share/info/"),
    *("usr/share/applications/", "usr/share/icons/", "usr/share/pixmaps/", "usr/include/", "usr/lib/systemd/"),
    *("lib/systemd/", "etc/init.d/", "etc/cron", "etc/systemd/"),
)


def whole_packages(
    packages: tuple[str, ...], members: Mapping[str, PackageFile], owners: Mapping[str, str]
) -> list[str]:
    """Which members of an image's packages a guest gets of those that its description names.

    Of the named packages all but documentation and what serves systemd; of packages with data of theirs (`…-data`,
    `…-common`) the data. Libraries come by need, whoever has them.
    """
    wanted = []
    for path in members:
        owner = owners[path]
        named = owner in packages
        data = owner.endswith(("-data", "-common")) and path.startswith(_DATA)
        if (named or data) and not path.startswith(_UNWANTED):
            wanted.append(path)
    return wanted


def in_the_guest(path: str) -> str:
    """Where a path of a package or folder lies in a guest, whose /sbin is a link to /bin."""
    return f"bin/{path.removeprefix('sbin/')}" if path.startswith("sbin/") else path


def own_files(own: OwnParts) -> dict[str, FileSpec]:
    """The files that a description adds, by their paths in the guest. Symbolic links stay what they are."""
    found: dict[str, FileSpec] = {}
    if own.files is not None:
        for path in entries(own.files):
            if str(path.relative_to(own.files)) == "sbin" and path.is_dir():
                continue
            found[in_the_guest(str(path.relative_to(own.files)))] = _spec(path)
    if own.run is not None:
        found[RUN] = regular(own.run.read_bytes(), 0o755)
    return found


def _spec(path: Path) -> FileSpec:
    if path.is_symlink():
        return FileSpec(os.fsencode(path.readlink()), stat.S_IFLNK | 0o777)
    if path.is_dir():
        return directory()
    return regular(path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)
