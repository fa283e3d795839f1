# SPDX-License-Identifier: BSD-2-Clause
"""Image files: `image: ./my-image.yaml` takes what would stand there from a file beside the description.

What the file holds takes the place of its name before anything is checked, so that all checks see one description; an
error in it is shown in the file itself. Its paths are relative to its own folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from router.description.diagnostics import Diagnostic
from router.description.own_files import outside
from router.description.source import Mapping, SourceText, parse, plain
from router.description.text import read_text
from router.errors import DescriptionError

ModelPath = tuple[str | int, ...]
SUFFIXES = (".yaml", ".yml")
PATHS = ("files", "run", "kernel", "initramfs")
"""The fields that name files."""


@dataclass(frozen=True)
class Taken:
    """What came of the image files of a description: `data` has their content in the place of their names."""

    data: Any
    source: SourceText
    """The description; what lies in an image file is found there."""
    files: tuple[Path, ...]
    problems: tuple[Diagnostic, ...]


def names_file(value: object) -> bool:
    """Whether the value of `image` is the name of a file, not that of an image."""
    return isinstance(value, str) and ("/" in value or value.endswith(SUFFIXES))


def take(source: SourceText, data: Any, base: Path, bad: set[ModelPath]) -> Taken:
    """Read the image files that the guests name; base: the folder of the description. `bad` grows as in `plain`."""
    found: dict[ModelPath, SourceText] = {}
    problems: list[Diagnostic] = []
    files: list[Path] = []
    for path, guest in guests_with_file(data):
        name = guest["image"]
        try:
            if wrong := outside(base, Path(name)):
                raise DescriptionError(*wrong)
            parsed = parse(read_text(base / name))
            if parsed.source is None or not isinstance(parsed.source.root, Mapping):
                problems += parsed.problems or [
                    source.diagnostic(path, f"'{name}' is not an image", "write fields into it, such as extends: NAME")
                ]
                bad.add(path)
                continue
        except DescriptionError as error:
            problems += getattr(error, "diagnostics", None) or [source.diagnostic(path, error.message, error.hint)]
            bad.add(path)
            continue
        problems += parsed.problems
        files.append(base / name)
        found[path] = parsed.source
        guest["image"] = moved(plain(parsed.source.root, path, bad), PurePosixPath(name).parent)
    return Taken(data, source.with_parts(found), tuple(files), tuple(problems))


def guests_with_file(data: Any) -> Iterator[tuple[ModelPath, dict[str, Any]]]:
    """The guests of a description whose image is a file: the image's path, and the guest's fields."""
    guests = data.get("guests") if isinstance(data, dict) else None
    for name, guest in guests.items() if isinstance(guests, dict) else ():
        if isinstance(guest, dict) and names_file(guest.get("image")):
            yield ("guests", name, "image"), guest


def moved(image: dict[str, Any], folder: PurePosixPath) -> dict[str, Any]:
    """The image with its paths as seen from the description's folder."""
    return {
        field: str(folder / value) if field in PATHS and isinstance(value, str) and value else value
        for field, value in image.items()
    }
