# SPDX-License-Identifier: BSD-2-Clause
"""What a description adds to an image: the content of whole packages, a folder of files, a program to start."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from router.description.guest_image import OwnParts
from router.description.own_files import entries, in_the_guest
from router.errors import DescriptionError
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


def own_files(own: OwnParts) -> dict[str, FileSpec]:
    """The files that a description adds, by their paths in the guest: modes and symbolic links as they are.

    Of folders the setgid bit, which their parents hand on where people share them, stays out.
    """
    found: dict[str, FileSpec] = {}
    if own.files is not None:
        for path in entries(own.files):
            inside = str(path.relative_to(own.files))
            if inside != "sbin":
                found[in_the_guest(inside)] = _spec(path)
    if own.run is not None:
        found[RUN] = regular(own.run.read_bytes(), 0o755)
    return found


def _spec(path: Path) -> FileSpec:
    if path.is_symlink():
        return FileSpec(os.fsencode(path.readlink()), stat.S_IFLNK | 0o777)
    mode = stat.S_IMODE(path.stat().st_mode) & ~(stat.S_ISUID | stat.S_ISGID)
    return directory(mode) if path.is_dir() else regular(path.read_bytes(), mode)


def laid_over(
    added: Mapping[str, FileSpec], image: Iterable[Mapping[str, FileSpec]], place: str
) -> dict[str, FileSpec]:
    """`added` as it can follow the layers of an image: folders that the image has keep its modes.

    DescriptionError at `place` when a folder would replace a file or link of the image, or the other way round: the
    kernel would drop one of them without a word.
    """
    folders: dict[str, FileSpec] = {}
    others: set[str] = set()
    for layer in image:
        for path, spec in layer.items():
            for parent in PurePosixPath(path).parents:
                folders.setdefault(str(parent), directory())
            if stat.S_ISDIR(spec.mode):
                folders[path] = spec
            else:
                others.add(path)
    found = {}
    for path, spec in added.items():
        if stat.S_ISDIR(spec.mode) and path in others:
            raise DescriptionError(f"'{path}' of the image is not a folder", "put nothing in its place", place)
        if not stat.S_ISDIR(spec.mode) and path in folders:
            raise DescriptionError(f"'{path}' of the image is a folder", "put nothing else in its place", place)
        found[path] = folders.get(path, spec)
    return found
