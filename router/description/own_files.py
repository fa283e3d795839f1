# SPDX-License-Identifier: BSD-2-Clause
"""The files that a user's extended image takes from the description's folder: whether they can be taken."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

FORBIDDEN = ("dev", "proc", "sys", "run")
"""Folders of a guest that are mounted over when it starts: what lies there is never seen."""
DAEMONS_USER = "usbip"
"""Whom the USB/IP daemons of a guest run as (guest-images/common/etc/passwd)."""
MAX_ENTRIES = 20_000
MAX_BYTES = 256 << 20
"""Of a folder's files together: a guest unpacks them into its memory."""
_END = "TRAILER!!!"
"""The name that ends an initramfs archive (Linux, init/initramfs.c)."""

Wrong = tuple[str, str]
"""Message and hint."""


def wrong_folder(base: Path, name: Path) -> Wrong | None:
    """What is wrong with `name`, relative to `base`, as a folder to lay over an image; None when nothing is."""
    full = base / name
    if wrong := outside(base, name):
        return wrong
    if not full.is_dir():
        what = "not a folder" if full.exists() else "not there"
        return f"'{name}' is {what}", "name a folder whose content is laid over the root, such as files: overlay"
    if full.resolve() == base.resolve():
        return (
            f"'{name}' is the folder of the description itself, with all that lies in it",
            "move what the guest gets into a folder of its own, such as files: overlay",
        )
    try:
        return _wrong_content(full, name)
    except OSError as error:
        return _unreadable(error)


def _wrong_content(full: Path, name: Path) -> Wrong | None:
    seen: dict[str, Path] = {}
    size = 0
    for path in entries(full):
        inside = path.relative_to(full)
        if wrong := _wrong_entry(path, inside, f"{name}/{inside}"):
            return wrong
        other = seen.setdefault(in_the_guest(str(inside)), inside)
        if other != inside and not path.is_dir():
            return f"'{name}/{inside}' and '{name}/{other}' are one file in the guest", "its /sbin is /bin: keep one"
        size += path.lstat().st_size if path.is_file() and not path.is_symlink() else 0
        if len(seen) > MAX_ENTRIES or size > MAX_BYTES:
            return (
                f"'{name}' has more than {MAX_ENTRIES} entries or {MAX_BYTES >> 20} MiB",
                "a guest keeps all of it in its memory: move out of the folder what it does not need",
            )
    return None


def _wrong_entry(path: Path, inside: Path, shown: str) -> Wrong | None:
    """What is wrong with one entry of a folder, from its name and kind."""
    folder = path.is_dir() and not path.is_symlink()
    if not _is_utf8(str(inside)):
        return f"{shown!r} has a name that is not UTF-8", "rename it: ls -b shows the bytes of its name"
    if str(inside) == _END:
        return f"'{shown}' has the name that ends an initramfs", "rename it"
    if inside.parts[0] in FORBIDDEN and not folder:
        return f"'{shown}' would never be seen", f"the guest mounts its own /{inside.parts[0]} over it"
    if str(inside) == "var/run":
        return f"'{shown}' would replace the guest's link to /run", "remove it: /run is empty when the guest starts"
    if str(inside) == "sbin" and not folder:
        return f"'{shown}' would replace the guest's link to /bin", "make it a folder: its files come into /bin"
    if not (path.is_symlink() or path.is_file() or folder):
        return f"'{shown}' is not a file, a folder or a symbolic link", "remove it"
    if folder or path.is_symlink():
        if str(inside) == "etc/passwd":
            return f"'{shown}' is not a file", "make it a file"
        return None
    if path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID):
        return f"'{shown}' is setuid or setgid, which no file of a description can be", f"chmod ug-s {quote(shown)}"
    if not os.access(path, os.R_OK):
        return f"cannot read '{shown}'", "check its permissions"
    return _wrong_users(path, shown) if str(inside) == "etc/passwd" else None


def _wrong_users(path: Path, shown: str) -> Wrong | None:
    """What is wrong with a passwd file that replaces the guest's: the USB/IP daemons need their user."""
    for line in path.read_bytes().decode("utf-8", "replace").splitlines():
        name, *rest = line.split(":")
        if name == DAEMONS_USER and len(rest) == 6 and all(text.isdecimal() and int(text) for text in rest[1:3]):
            return None
    return (
        f"'{shown}' lacks the user {DAEMONS_USER}, whom the USB/IP daemons run as",
        f"add the line {DAEMONS_USER}:x:100:100:USB/IP daemons:/:/bin/false",
    )


def wrong_program(base: Path, name: Path) -> Wrong | None:
    """What is wrong with `name` as a program to start in a guest; None when nothing is."""
    full = base / name
    if wrong := outside(base, name):
        return wrong
    if not full.is_file():
        what = "a folder" if full.is_dir() else "not there"
        return f"'{name}' is {what}", "name a script, such as run: start.sh"
    try:
        with full.open("rb") as file:
            first = file.readline(256)
        size = full.stat().st_size
    except OSError as error:
        return _unreadable(error)
    if first.endswith(b"\r\n"):
        return f"'{name}' has DOS line ends", "the guest's shell does not know them: convert it with sed -i 's/\\r$//'"
    if size > MAX_BYTES:
        return f"'{name}' has more than {MAX_BYTES >> 20} MiB", "a guest keeps it in its memory: is it a program?"
    return None


def outside(base: Path, name: Path) -> Wrong | None:
    """What is wrong with `name` if it leads out of the folder `base`, or cannot be the name of a file."""
    try:
        if is_inside(base, name):
            return None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        return f"cannot read {str(name)!r}: {error}", "write the name of a file in the description's folder"
    return (
        f"'{name}' is outside the description's folder",
        "move or copy it there: a description and its files are one folder",
    )


def is_inside(base: Path, name: Path) -> bool:
    """Whether `name`, relative to `base`, lies in that folder once all links are followed.

    Raises OSError, ValueError or RuntimeError when it cannot be the name of a file.
    """
    return (base / name).resolve().is_relative_to(base.resolve())


def _unreadable(error: OSError) -> Wrong:
    return f"cannot read '{error.filename}': {error.strerror}", "check its permissions"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_the_guest(path: str) -> str:
    """Where a path of a package or folder lies in a guest, whose /sbin is a link to /bin."""
    return f"bin/{path.removeprefix('sbin/')}" if path.startswith("sbin/") else path


def entries(folder: Path) -> Iterator[Path]:
    """Everything below a folder, sorted, each folder before its content; symbolic links are not followed."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        if path is not folder:
            yield path
        if path.is_dir() and (path is folder or not path.is_symlink()):
            waiting += sorted(path.iterdir(), reverse=True)
