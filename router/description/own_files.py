# SPDX-License-Identifier: BSD-2-Clause
"""The files that a user's extended image takes from the description's folder: whether they can be taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

FORBIDDEN = ("dev", "proc", "sys", "run")
"""Folders of a guest that are mounted over when it starts: what lies there is never seen."""


def wrong_folder(base: Path, name: Path) -> tuple[str, str] | None:
    """Message and hint when `name`, relative to `base`, cannot be laid over an image; None when it can."""
    full = base / name
    if not full.resolve().is_relative_to(base.resolve()):
        return (
            f"'{name}' is outside the description's folder",
            "move or copy it there: a description and its files are one folder",
        )
    if not full.is_dir():
        what = "not a folder" if full.exists() else "not there"
        return f"'{name}' is {what}", "name a folder whose content is laid over the root, such as files: overlay"
    for path in entries(full):
        inside = path.relative_to(full)
        if inside.parts[0] in FORBIDDEN and not path.is_dir():
            return f"'{name}/{inside}' would never be seen", f"the guest mounts its own /{inside.parts[0]} over it"
        if not (path.is_symlink() or path.is_file() or path.is_dir()):
            return f"'{name}/{inside}' is not a file, a folder or a symbolic link", "remove it"
    return None


def wrong_program(base: Path, name: Path) -> tuple[str, str] | None:
    """Message and hint when `name` cannot be started in a guest; None when it can."""
    full = base / name
    if not full.resolve().is_relative_to(base.resolve()):
        return (
            f"'{name}' is outside the description's folder",
            "move or copy it there: a description and its files are one folder",
        )
    if not full.is_file():
        what = "a folder" if full.is_dir() else "not there"
        return f"'{name}' is {what}", "name a script, such as run: start.sh"
    with full.open("rb") as file:
        first = file.readline(256)
    if first.endswith(b"\r\n"):
        return f"'{name}' has DOS line ends", "the guest's shell does not know them: convert it with sed -i 's/\\r$//'"
    return None


def entries(folder: Path) -> Iterator[Path]:
    """Everything below a folder, sorted; symbolic links are not followed."""
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from entries(path)
