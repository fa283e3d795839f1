# SPDX-License-Identifier: BSD-2-Clause
"""From a file to a Description, or to every error of the file at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from router import trusted
from router.description import files, image_file, parts, semantics
from router.description.catalogue import Catalogue, find_description, shipped_catalogue
from router.description.diagnostics import DescriptionErrors, Diagnostic
from router.description.models import Description
from router.description.own_files import is_inside
from router.description.parts import Finding
from router.description.source import Mapping, SourceText, parse, plain
from router.description.text import read_text
from router.description.wording import translate

__all__ = ["LoadedDescription", "find_description", "load"]

ModelPath = tuple[str | int, ...]
"""Keys and list indices from the top, as the YAML names them: ("guests", "server", "passthrough", 0)."""


@dataclass(frozen=True)
class LoadedDescription:
    """A description, where it came from, and a way to report what later stages find wrong with it."""

    path: Path
    description: Description
    source: SourceText
    image_files: tuple[Path, ...] = ()
    """The image files that it names."""

    @property
    def name(self) -> str:
        """The file, as the user gave it."""
        return self.source.name

    def place(self, path: ModelPath) -> str:
        """`file:line:column` of the value at a path."""
        return self.source.place(path)

    def diagnostic(
        self,
        path: ModelPath,
        message: str,
        hint: str | None = None,
        *,
        key: bool = False,
        remark: str = "",
        related: Iterable[tuple[ModelPath, str]] = (),
    ) -> Diagnostic:
        """An error at a path of the description, for `raise_if`. A path to a default points at what stands above it.

        key: point at the field's name instead of at its value. remark: printed behind the carets.
        related: other places that matter, each with its remark.
        """
        return self.source.diagnostic(path, message, hint, key=key, remark=remark, related=related)

    def error(self, path: ModelPath, message: str, hint: str | None = None) -> DescriptionErrors:
        """The error to raise for one finding: `raise loaded.error(("guests", "server", "passthrough", 0), "…")`."""
        return DescriptionErrors([self.diagnostic(path, message, hint)])

    @staticmethod
    def raise_if(found: Iterable[Diagnostic]) -> None:
        """Raise DescriptionErrors when anything was found."""
        if found := list(found):
            raise DescriptionErrors(found)


def load(path: Path, catalogue: Catalogue | None = None) -> LoadedDescription:
    """Read a description file.

    path: the file; messages call it so.
    catalogue: the boards and images that it may name; by default those of this installation.
    Raises DescriptionErrors with all errors of the file, or DescriptionError when it cannot be read as text.
    """
    text = read_text(path)
    parsed = parse(text)
    if parsed.source is None:
        raise DescriptionErrors(parsed.problems)
    source, found = parsed.source, list(parsed.problems)
    bad: set[ModelPath] = set()
    taken = image_file.take(source, plain(source.root, (), bad), path.parent, bad)
    data, source = taken.data, taken.source
    found += taken.problems
    catalogue = catalogue or shipped_catalogue()
    description: Description | None = None
    try:
        description = Description.model_validate(data)
        pieces = parts.whole(description, catalogue)
    except ValidationError as error:
        found += translate(source, error, bad)
        pieces = parts.salvage(data, catalogue)
    findings = [*semantics.check(pieces), *files.check(pieces, device_tree(data), path)]
    found += [locate(source, one) for one in findings if not reported(one.path, bad)]
    if found or description is None:
        raise DescriptionErrors(found)
    return LoadedDescription(path, files.by_content(description, path.parent), source, taken.files)


def is_description(path: Path) -> bool:
    """Whether a YAML file describes a system, going by its fields. DescriptionError when it cannot be read as text."""
    source = parse(read_text(path)).source
    return source is not None and isinstance(source.root, Mapping) and source.root.get("guests") is not None


def outside_files(path: Path) -> tuple[Path, ...]:
    """The kernels, initramfs archives and device trees that a description names outside its folder, links followed.

    DescriptionErrors when it is not YAML.
    """
    parsed = parse(read_text(path))
    if parsed.source is None:
        raise DescriptionErrors(parsed.problems)
    bad: set[ModelPath] = set()
    data = image_file.take(parsed.source, plain(parsed.source.root, (), bad), path.parent, bad).data
    named = [str(device_tree(data) or "")]
    guests = data.get("guests") if isinstance(data, dict) else None
    for guest in guests.values() if isinstance(guests, dict) else ():
        image = guest.get("image") if isinstance(guest, dict) else None
        named += [str(image.get(field, "")) for field in ("kernel", "initramfs")] if isinstance(image, dict) else []
    return tuple(dict.fromkeys((path.parent / name).resolve() for name in named if name and leads_out(path, name)))


def leads_out(description: Path, name: str) -> bool:
    """Whether a name leads out of the description's folder; False for what cannot be the name of a file."""
    try:
        return not is_inside(description.parent, Path(name))
    except (OSError, ValueError, RuntimeError):
        return False


def agree_to_outside_files(path: Path, found: Iterable[Path]) -> None:
    """Record that the user lets this description read these files, which `outside_files` has returned."""
    for one in found:
        trusted.agree_to(path, files.reading(one))


def device_tree(data: Any) -> Path | None:
    """The device tree file that the description names."""
    name = data.get("device_tree") if isinstance(data, dict) else None
    return Path(name) if isinstance(name, str) else None


def reported(path: ModelPath, bad: set[ModelPath]) -> bool:
    """Whether a finding lies at or below a value that is reported already."""
    return any(path[: len(known)] == known for known in bad)


def locate(source: SourceText, finding: Finding) -> Diagnostic:
    """A finding with its place in the file."""
    return source.diagnostic(
        finding.path,
        finding.message,
        finding.hint,
        key=finding.key,
        remark=finding.remark,
        related=finding.related,
    )
