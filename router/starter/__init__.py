# SPDX-License-Identifier: BSD-2-Clause
"""The files that a new project starts from: `router init` writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from router.errors import DescriptionError, HostError
from router.templates import template

DESCRIPTION = "system.yaml"
FILES: Mapping[str, str] = {DESCRIPTION: "system.yaml.j2", ".gitignore": "gitignore.j2"}
"""File name → template. All of them get `system`, the system's name, and `description`, the description's file name."""


def system_name(folder: Path) -> str:
    """A valid system name after the folder's own, as near as can be; `my-system` where nothing of it serves."""
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_")[:40].rstrip("-_")
    return name if re.match(r"[a-z]", name) else "my-system"


def write_project(folder: Path) -> list[Path]:
    """Write a project's first files into a folder, which is made if need be; their paths, the description first.

    DescriptionError when any of the files exists: then none is written. HostError when the folder cannot be written.
    """
    texts = {
        folder / name: template("router.starter", source).render(system=system_name(folder), description=DESCRIPTION)
        for name, source in FILES.items()
    }
    there = [path for path in texts if os.path.lexists(path)]
    if there:
        names = ", ".join(map(str, there))
        verb = "exists" if len(there) == 1 else "exist"
        raise DescriptionError(
            f"{names} {verb}: nothing is written", hint="choose another folder (router init DIR), or move them away"
        )
    if folder.exists() and not folder.is_dir():
        raise HostError("cannot write the project: it is not a folder", where=str(folder))
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            with path.open("x") as file:  # "x": what another program made meanwhile stays as it is
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise HostError(f"cannot write the project: {error.strerror}", where=str(error.filename or folder)) from None
    return written
