# SPDX-License-Identifier: BSD-2-Clause
"""The files that a new project starts from: `router init` writes them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from router.errors import DescriptionError, HostError
from router.requirements import DISTRIBUTION, packages
from router.templates import template

DESCRIPTION = "system.yaml"
FILES: Mapping[str, str] = {
    DESCRIPTION: "system.yaml.j2",
    "test_system.py": "test_system.py.j2",
    ".gitignore": "gitignore.j2",
}
"""File name → template. All of them get the values of `_values`."""
WORKFLOWS: Mapping[str, tuple[str, str]] = {
    "github": (".github/workflows/system.yml", "github.yml.j2"),
    "gitlab": (".gitlab-ci.yml", "gitlab-ci.yml.j2"),
}
"""Where the tests can run on each push → file name and template."""
PYTEST_OPTIONS = "--router-logs logs --router-report logs --junitxml report.xml -o junit_logging=system-out"


def system_name(folder: Path) -> str:
    """A valid system name after the folder's own, as near as can be; `my-system` where nothing of it serves."""
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_")[:40].rstrip("-_")
    return name if re.match(r"[a-z]", name) else "my-system"


def _values(folder: Path) -> dict[str, str]:
    """What the templates fill in."""
    return {
        "system": system_name(folder),
        "description": DESCRIPTION,
        "distribution": DISTRIBUTION,
        "packages": " ".join(packages(tests=False)),
        "options": PYTEST_OPTIONS,
    }


def write_project(folder: Path, ci: str | None = None) -> list[Path]:
    """Write a project's first files into a folder, which is made if need be; their paths, the description first.

    ci: also a workflow, a key of WORKFLOWS; a folder that has a description already gets the workflow alone.
    DescriptionError when any of the files exists: then none is written. HostError when the folder cannot be written.
    """
    sources = {} if ci is not None and (folder / DESCRIPTION).is_file() else dict(FILES)
    if ci is not None:
        name, source = WORKFLOWS[ci]
        sources[name] = source
    values = _values(folder)
    texts = {folder / name: template("router.starter", source).render(values) for name, source in sources.items()}
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
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x") as file:  # "x": what another program made meanwhile stays as it is
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise HostError(f"cannot write the project: {error.strerror}", where=str(error.filename or folder)) from None
    return written
