# SPDX-License-Identifier: BSD-2-Clause
"""A build folder that may have come from anywhere: nothing in it leads what is built elsewhere."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from router import files
from router.errors import HostError

FOLDERS = ("images", "guests", "programs", "objects", "logs")
FILES = ("plan.json", "report.html", "manifest.json", "loader.img", "report.txt", "deploy.json", "loader.booti")
"""And NAME.system; all that a build and a run make in a build folder."""
KEPT = ("logs",)
"""Folders in which a user may put something else in a file's place, such as a pipe for a log."""


def prepare_folder(folder: Path) -> None:
    """Make the folder, where it is missing, and its folder for intermediate files.

    HostError for a symbolic link, a device or a pipe where a file or folder of ours belongs: a build into a folder from
    elsewhere would write through it. OSError when nothing can be written.
    """
    files.output_folder(folder)
    for path in _ours(folder):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            what = "symbolic link" if stat.S_ISLNK(mode) else "device, pipe or socket"
            raise HostError(
                f"a {what} is in this build folder, and what is built would be written through it",
                hint="remove it, or build into another folder (-o)",
                where=str(path),
            )
    (folder / "objects").mkdir(exist_ok=True)


def _ours(folder: Path) -> Iterator[Path]:
    """Everything in the build folder that a build may write to. No symbolic link is followed."""
    yield from (each for each in folder.iterdir() if each.name in (*FOLDERS, *FILES) or each.suffix == ".system")
    for name in FOLDERS:
        if name not in KEPT and not (folder / name).is_symlink():
            for top, folders, names in os.walk(folder / name):
                yield from (Path(top) / each for each in (*folders, *names))
