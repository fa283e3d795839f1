# SPDX-License-Identifier: BSD-2-Clause
"""A lock file: the packages of every image type, by version and sha256, so that images stay the same until it changes.

Text, one fact a line, sorted, to read well in a diff:

    image usb-server busybox-static python3-minimal       what the image type asked for
    kernel linux-image-6.1.0-56-arm64 6.1.192-2 arm64 <sha256> <size> <source package>
    userland libc6 2.36-9+deb12u14 arm64 <sha256> <size> <source package>
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from router import files
from router.description.guest_image import SHIPPED, WITH_DISKS, Definition, image_names, load_definition
from router.errors import DescriptionError
from router.guests.apt import Package
from router.guests.resolution import RECORD, Packages, Resolution
from router.guests.sources import Source, machine_sources

NAME = "packages.lock"
MAX_BYTES = 4 << 20
PACKAGE = re.compile(
    r"[a-z0-9][a-z0-9+.-]{0,199} [A-Za-z0-9][A-Za-z0-9.+~:-]{0,199} [a-z0-9][a-z0-9-]{0,31} [0-9a-f]{64} [0-9]{1,12}"
    r" [a-z0-9][a-z0-9+.-]{0,199}"
)
"""Name, version, architecture, SHA-256, bytes and source package (Debian Policy 5.6.1, 5.6.7, 5.6.8, 5.6.12)."""
_HEAD = f"# The packages of the guest images, as {RECORD} records them. Builds use these versions and no others.\n"


@dataclass(frozen=True)
class Locked:
    """One image type's part of the lock: what it asked for, and what it got."""

    roots: tuple[str, ...]
    resolution: Resolution


def default_lock(folder: Path = SHIPPED) -> Path | None:
    """The lock beside the image definitions, when there is one."""
    path = folder / NAME
    return path if path.is_file() else None


def record_lock(
    path: Path,
    *,
    cache: Path | None = None,
    sources: Sequence[Source] | None = None,
    folder: Path = SHIPPED,
    more: Sequence[Definition] = (),
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Locked]:
    """Asks the package sources for what every image type of `folder` would get now, and writes that to `path`.

    more: image types of a description.
    """
    packages = Packages(cache or files.cache_folder(), machine_sources() if sources is None else sources, progress)
    locked = {}
    definitions = {name: load_definition(name, folder) for name in image_names(folder)}
    definitions |= {definition.name: definition for definition in more}
    for index, (name, definition) in enumerate(definitions.items()):
        resolution = packages.resolve(definition, refresh=True, lists=index == 0)
        locked[name] = Locked(definition.image.packages, resolution)
    files.write(path, render_lock(locked).encode())
    return locked


def render_lock(locked: Mapping[str, Locked]) -> str:
    """The text of a lock file."""
    lines = []
    for name, part in sorted(locked.items()):
        lines.append(" ".join(["\nimage", name, *part.roots]))
        for kind in ("kernel", "userland"):
            for p in sorted(getattr(part.resolution, kind)):
                lines.append(f"{kind} {p.name} {p.version} {p.architecture} {p.sha256} {p.size} {p.source or p.name}")
    return _HEAD + "\n".join(lines) + "\n"


def read_lock(path: Path) -> dict[str, Locked]:
    """The lock file's content; DescriptionError with file and line where it is not one.

    It may have come with a description from elsewhere, and its words go onto apt's command line and into file names.
    """
    found: dict[str, tuple[tuple[str, ...], dict[str, list[Package]]]] = {}
    packages: dict[str, list[Package]] | None = None
    try:
        text = files.read_regular(path, MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DescriptionError(f"cannot read the lock file: {why}", _hint(path), str(path)) from None
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "image" and len(words) > 1:
            packages = {"kernel": [], "userland": []}
            found[words[1]] = (tuple(words[2:]), packages)
        elif packages is not None and words[0] in packages and PACKAGE.fullmatch(" ".join(words[1:])):
            packages[words[0]].append(Package(words[1], words[2], words[3], words[4], int(words[5]), words[6]))
        else:
            raise DescriptionError(f"not a line of a lock file: {line[:200]!r}", _hint(path), f"{path}:{number}")
    return {
        name: Locked(roots, Resolution(tuple(parts["kernel"]), tuple(parts["userland"])))
        for name, (roots, parts) in found.items()
    }


def enforce_lock(path: Path, definition: Definition) -> Resolution:
    """The packages that the lock `path` holds for an image type; DescriptionError when it is about another list."""
    known = read_lock(path)
    # What disks as blocks need are modules of the same kernel: the packages are those of the image without them.
    locked = known.get(definition.name) or known.get(definition.name.removesuffix(WITH_DISKS))
    if locked is None:
        raise DescriptionError(f"the lock does not cover the guest image '{definition.name}'", _hint(path), str(path))
    now, then = set(definition.image.packages), set(locked.roots)
    if now != then:
        changes = [f"+{name}" for name in sorted(now - then)] + [f"-{name}" for name in sorted(then - now)]
        raise DescriptionError(
            f"the packages of '{definition.name}' have changed since the lock was recorded: {' '.join(changes)}",
            _hint(path),
            str(path),
        )
    return locked.resolution


def lock_differences(locked: Resolution, current: Resolution) -> list[str]:
    """One line per package in which two resolutions differ: `libc6 2.36-9 → 2.36-10`, `+name`, `-name`."""
    then = {package.name: package for package in locked.packages}
    now = {package.name: package for package in current.packages}
    lines = [f"-{name} {then[name].version}" for name in sorted(then.keys() - now.keys())]
    lines += [f"+{name} {now[name].version}" for name in sorted(now.keys() - then.keys())]
    for name in sorted(then.keys() & now.keys()):
        if then[name].version != now[name].version:
            lines.append(f"{name} {then[name].version} → {now[name].version}")
        elif then[name].sha256 != now[name].sha256:
            lines.append(f"{name} {then[name].version}: another file of the same version")
    return lines


def _hint(path: Path) -> str:
    return f"record it anew with {RECORD}, or remove {path.name}"
