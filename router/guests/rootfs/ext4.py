# SPDX-License-Identifier: BSD-2-Clause
"""An ext4 file system in a file, out of a folder, by mke2fs and debugfs: everything in it belongs to whom it should.

mke2fs(8) copies a folder with its modes, but with the owners that it has here; debugfs(8) then writes the right ones.
(mke2fs reads archives, which know owners, only from e2fsprogs 1.47.1 on.)
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from router import requirements
from router.errors import HostError

BLOCK = 4096
MAX_LINE = 4000
"""Bytes of a command to debugfs, which cuts its script into pieces of BUFSIZ (8192 at glibc) and runs each."""
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def make(folder: Path, out: Path, label: str, size: int, owners: Mapping[str, tuple[int, int]]) -> None:
    """Write the file system `out` of `size` bytes. owners: path -> (user, group) where not (0, 0).

    HostError when it does not fit, or a tool fails.
    """
    with out.open("wb") as file:
        file.truncate(size)
    options = ["-q", "-t", "ext4", "-b", str(BLOCK), "-L", label, "-E", "root_owner=0:0", "-d", str(folder)]
    _run("mke2fs", [*options, str(out)])
    script = _owners_script(folder, owners)
    if script:
        with tempfile.NamedTemporaryFile("w", suffix=".debugfs", encoding="utf-8", errors="surrogateescape") as file:
            file.write(script)
            file.flush()
            said = _run("debugfs", ["-w", "-f", file.name, str(out)])
        # debugfs ends with 0 whatever happens; what fails it says after the echo of the command.
        wrong = [line for line in said.splitlines() if line and not line.startswith(("debugfs: ", "debugfs 1."))]
        if wrong:
            raise HostError(f"debugfs could not set an owner: {wrong[0]}", where=str(out))


def check_name(path: str) -> None:
    """HostError for a path with a control character: a line break would end its command to debugfs and begin another.

    debugfs runs programs and reads and writes files of this computer, so that a package could do so.
    """
    if _CONTROL.search(path):
        raise HostError(f"a file's name has a control character: {path!r}", "leave out the package that holds it")


def _owners_script(folder: Path, owners: Mapping[str, tuple[int, int]]) -> str:
    """debugfs's commands for all paths whose owner in the copy is not the one that is wanted.

    HostError for a path that cannot stand in a command.
    """
    lines = []
    for top, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(top) / name
            inside = str(path.relative_to(folder))
            check_name(inside)
            found = path.lstat()
            quoted = '"/' + inside.replace('"', '""') + '"'
            for key, now, wanted in zip(
                ("uid", "gid"), (found.st_uid, found.st_gid), owners.get(inside, (0, 0)), strict=True
            ):
                if now != wanted:
                    line = f"set_inode_field {quoted} {key} {wanted}\n"
                    if len(os.fsencode(line)) > MAX_LINE:
                        raise HostError(f"a file's path is too long: {inside[:80]}…", "leave its package out")
                    lines.append(line)
    return "".join(lines)


def _run(tool: str, arguments: list[str]) -> str:
    command = [requirements.find(tool), *arguments]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "LC_ALL": "C"})
    said = (done.stdout + done.stderr).decode(errors="replace")
    if done.returncode:
        last = (said.strip().splitlines() or ["no message"])[-1]
        hint = "write a larger --size" if "Could not allocate" in said or "space" in last else None
        raise HostError(f"{tool}: {last}", hint)
    return said
