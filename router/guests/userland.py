# SPDX-License-Identifier: BSD-2-Clause
"""A guest's root file system out of Debian packages: chosen files, the libraries that they need, busybox, Python."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from router.description.guest_image import Definition
from router.description.own_files import in_the_guest
from router.elf import check_machine, is_elf, needed_libraries
from router.errors import DescriptionError, HostError
from router.guests import debs
from router.guests.cpio import FileSpec, regular, symlink
from router.guests.own import whole_packages
from router.guests.python import (
    OPTIMISED,
    compiler_for,
    importer_for,
    interpreter_for,
    make_zip,
    make_zipapp,
    program_sources,
    stdlib_closure,
)

PROGRAM = "usr/lib/router/usbip.pyz"
CHECKED = "usr/lib/router/checked"
"""Scripts that look whether a program of the image can do what it is called for, and then start it."""
_LIBRARY = re.compile(r"(?:usr/)?lib/(?:aarch64-linux-gnu/)?((?:lib|ld-)[^/]*\.so[^/]*)$")
_STDLIB = re.compile(r"usr/lib/python(3\.\d+)/((?!lib-dynload/|test/|idlelib/|config-)[\w/]+)\.py$")
_PROGRAM_FOLDERS = ("bin", "usr/bin", "usr/sbin")
_COPYRIGHT = re.compile(r"usr/share/doc/([^/]+)/copyright$")


@dataclass(frozen=True)
class Userland:
    """The files of the root file system, and what the SBOM wants to know about them.

    owners: guest path -> name of the package that the file came from; copyrights: package name -> the text.
    own: the paths of our own programs and scripts. added: those that only a description asks for.
    date: of the newest file, in seconds since 1970.
    """

    files: dict[str, FileSpec]
    owners: dict[str, str]
    copyrights: dict[str, str]
    python_version: str | None
    own: frozenset[str]
    added: frozenset[str]
    date: int


@dataclass(frozen=True)
class Unpacked:
    """All members of the image's packages, by path, with the package of each."""

    members: dict[str, debs.PackageFile]
    owners: dict[str, str]

    def content(self, path: str) -> debs.PackageFile:
        """The file at `path`, links within the packages followed; HostError when there is none."""
        seen = set()
        while path in self.members and path not in seen:
            seen.add(path)
            member = self.members[path]
            if member.link is None:
                return member
            base = PurePosixPath("/") / PurePosixPath(path).parent
            path = _normal(base / member.link)
        raise HostError(f"no file {path} in the packages of the image", "add the package that holds it")


def unpack(packages: Mapping[str, Path]) -> Unpacked:
    """The members of `packages` (name -> .deb) except manuals, locales and other documentation."""

    def wanted(path: str) -> bool:
        return not path.startswith(("usr/share/man/", "usr/share/locale/", "usr/lib/aarch64-linux-gnu/gconv/")) and (
            not path.startswith("usr/share/doc/") or path.endswith("/copyright")
        )

    members: dict[str, debs.PackageFile] = {}
    owners: dict[str, str] = {}
    for name, deb in packages.items():
        for member in debs.members(deb, wanted):
            members[member.path] = member
            owners[member.path] = name
    return Unpacked(members, owners)


def build_userland(
    definition: Definition, packages: Mapping[str, Path], debian_python: Callable[[str], list[str]]
) -> Userland:
    """What `definition` asks for out of `packages`: files, their libraries, busybox's links, Python, trees."""
    unpacked = unpack(packages)
    files: dict[str, FileSpec] = {}
    owners: dict[str, str] = {}
    interpreter: str | None = None
    for pattern in definition.image.files:
        paths = [p for p in unpacked.members if fnmatchcase(p, pattern) and unpacked.members[p].link is None]
        if not paths:
            raise DescriptionError(
                f"no package of the image '{definition.name}' holds {pattern}", None, definition.place
            )
        for path in paths:
            _take(path, unpacked, files, owners)
            if match := re.fullmatch(r"usr/bin/python(3\.\d+)", path):
                interpreter = match[1]
    _add_libraries(unpacked, files, owners)
    before = set(files)
    if definition.own:
        for path in whole_packages(definition.own.packages, unpacked.members, unpacked.owners):
            _take_as_it_is(path, unpacked, files, owners)
        _add_libraries(unpacked, files, owners)
    added = frozenset(files) - before
    _add_applets(files, owners)
    if interpreter:
        command = interpreter_for(interpreter, debian_python)
        _add_python(definition, interpreter, command, unpacked, files, owners)
    own = {PROGRAM} & set(files)
    for path, file in definition.tree_files():
        own.add(path)
        files[path] = regular(file.read_bytes(), 0o755 if file.stat().st_mode & 0o100 else 0o644)
        owners.pop(path, None)
    used = set(owners.values())
    copyrights = {}
    for path, member in unpacked.members.items():
        if (match := _COPYRIGHT.match(path)) and match[1] in used and not member.link:
            copyrights[match[1]] = member.data.decode("utf-8", "replace")
    date = max((member.date for member in unpacked.members.values()), default=0)
    return Userland(files, owners, copyrights, interpreter, frozenset(own), added, date)


def applet_names(busybox: bytes) -> list[str]:
    """The applets that a busybox binary was built with, out of its table of names.

    The table (`applet_names` in include/applet_tables.h) is a run of NUL-terminated names in alphabetic order, which
    begins with `[` and `[[`.
    """
    start = busybox.find(b"[\0[[\0")
    if start < 0:
        raise HostError("cannot find the table of applets in busybox", "the package is damaged, or no busybox")
    names: list[str] = []
    for raw in busybox[start : start + 32768].split(b"\0"):
        name = raw.decode("ascii", "replace")
        if not re.fullmatch(r"[a-z0-9_.+\[-]+", name) or (names and name <= names[-1]):
            break
        names.append(name)
    return names


def shadowed_programs(files: Mapping[str, FileSpec]) -> str:
    """Shell functions that call an image's own programs where busybox has an applet of the same name.

    busybox-static's shell prefers its applets to what PATH says (FEATURE_SH_STANDALONE): `mount` would be busybox's.
    A program that has a script of its name in CHECKED is called through that.
    """
    if "bin/busybox" not in files:
        return ""
    applets = set(applet_names(files["bin/busybox"].data))
    lines = []
    for path, spec in sorted(files.items()):
        folder, _, name = path.rpartition("/")
        if folder not in _PROGRAM_FOLDERS or stat.S_ISLNK(spec.mode):
            continue
        if f"{CHECKED}/{name}" in files:
            lines.append(f'{name}() {{ sh /{CHECKED}/{name} /{path} "$@"; }}\n')
        elif name in applets:
            lines.append(f'{name}() {{ /{path} "$@"; }}\n')
    return "".join(lines)


def _take(path: str, unpacked: Unpacked, files: dict[str, FileSpec], owners: dict[str, str]) -> None:
    member = unpacked.content(path)
    target = in_the_guest(path)
    files[target] = FileSpec(member.data, stat.S_IFREG | (member.mode & 0o755))
    owners[target] = unpacked.owners[member.path]


def _take_as_it_is(path: str, unpacked: Unpacked, files: dict[str, FileSpec], owners: dict[str, str]) -> None:
    """A file, or a symbolic link as one; a hard link becomes a file of its own."""
    member = unpacked.members[path]
    if path in files or in_the_guest(path) in files:
        return
    if member.link is None or (member.link.startswith("/") and member.link.lstrip("/") in unpacked.members):
        _take(path, unpacked, files, owners)
        return
    files[in_the_guest(path)] = symlink(member.link)
    owners[in_the_guest(path)] = unpacked.owners[path]


def _add_libraries(unpacked: Unpacked, files: dict[str, FileSpec], owners: dict[str, str]) -> None:
    """Adds, under its soname in /lib, each library that some file needs, until nothing is missing."""
    where = {match[1]: path for path in unpacked.members if (match := _LIBRARY.match(path))}
    there = {PurePosixPath(path).name for path in files}
    queue = [spec.data for spec in files.values() if is_elf(spec.data)]
    done: set[str] = set()
    while queue:
        for soname in needed_libraries(queue.pop()):
            if soname in done:
                continue
            done.add(soname)
            if soname not in where:
                if soname in there:  # a library of one package alone, in a folder that its programs know
                    continue
                raise HostError(f"no package of the image holds {soname}", "add the package that holds it to the image")
            member = unpacked.content(where[soname])
            check_machine(member.data, member.path)
            target = f"lib/{soname}"
            files[target] = FileSpec(member.data, stat.S_IFREG | 0o755)
            owners[target] = unpacked.owners[member.path]
            queue.append(member.data)


def _add_applets(files: dict[str, FileSpec], owners: dict[str, str]) -> None:
    busybox = next((path for path in ("bin/busybox", "usr/bin/busybox") if path in files), None)
    if busybox is None:
        return
    if busybox != "bin/busybox":
        files["bin/busybox"] = files.pop(busybox)
        owners["bin/busybox"] = owners.pop(busybox)
    taken = {PurePosixPath(path).name for path in files}
    for name in applet_names(files["bin/busybox"].data):
        if name not in taken:
            files[f"bin/{name}"] = symlink("busybox")


def _add_python(
    definition: Definition,
    version: str,
    command: list[str],
    unpacked: Unpacked,
    files: dict[str, FileSpec],
    owners: dict[str, str],
) -> None:
    modules: dict[str, str] = {}
    package_names: set[str] = set()
    for path in unpacked.members:
        match = _STDLIB.match(path)
        if match and match[1] == version and unpacked.members[path].link is None:
            name = match[2].replace("/", ".")
            if name.endswith(".__init__"):
                name = name.removesuffix(".__init__")
                package_names.add(name)
            modules[name] = path

    def read(name: str) -> str:
        return unpacked.members[modules[name]].data.decode()

    parts = definition.image.python
    programs = program_sources()
    chosen = stdlib_closure(
        programs,
        {name: name in package_names for name in modules},
        read,
        parts.extra,
        parts.exclude,
        importer_for(command),
    )
    compiler = compiler_for(command)
    pyc = compiler([(name, f"/{modules[name]}", read(name), OPTIMISED) for name in chosen])
    compact = version.replace(".", "")
    # The interpreter finds its prefix by the landmark os.pyc (Modules/getpath.py) and its library in the zip.
    files[f"usr/lib/python{version}/os.pyc"] = regular(pyc["os"])
    files[f"usr/lib/python{compact}.zip"] = regular(make_zip(pyc, package_names & set(pyc)))
    owners[f"usr/lib/python{compact}.zip"] = unpacked.owners[modules["os"]]
    files["usr/bin/python3"] = symlink(f"python{version}")
    files[f"usr/lib/python{version}/lib-dynload/.keep"] = regular(b"")
    if programs:
        files[PROGRAM] = regular(make_zipapp(programs, compiler))


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts[1:]:
        if part == "..":
            parts[-1:] = []
        else:
            parts.append(part)
    return "/".join(parts)


def relevant(names: Iterable[str], roots: Sequence[str]) -> list[str]:
    """Of a resolver's `name=version` items those that can hold something for an image.

    These are the roots, libraries, their data, and the Python interpreter; the rest (dpkg, tar, …) serves maintainer
    scripts.
    """
    return [
        item
        for item in names
        if (name := item.split("=")[0]) in roots or re.match(r"lib|zlib|python3\.\d+-minimal$|.*-(data|common)$", name)
    ]
