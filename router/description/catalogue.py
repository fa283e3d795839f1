"""What a description can refer to by name: shipped descriptions, boards, guest images. And where those are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from router import resources
from router.description.source import parse, plain
from router.description.text import read_text
from router.errors import DescriptionError
from router.words import nearest

Role = str
"""`server`, `client` or `none`."""


@dataclass(frozen=True)
class Catalogue:
    """The names that a description may use."""

    boards: Sequence[str]
    images: Mapping[str, Role]
    """Guest images and what they do for USB."""


def shipped_catalogue() -> Catalogue:
    """The boards and guest images that this installation knows."""
    from router.boards import names

    return Catalogue(names(), image_roles(resources.folder("guest-images")))


def image_roles(images: Path | None) -> dict[str, Role]:
    """Name and role of each guest image that a description may name: of every YAML file with a summary.

    An image without a role of its own has that of the last one it extends; docs/reference/guest-images.md.
    """
    fields = {path.stem: image_fields(path) for path in sorted(images.glob("*.yaml"))} if images else {}

    def role(name: str, above: tuple[str, ...] = ()) -> Role:
        own = fields.get(name, {})
        if own.get("role", "none") != "none" or name in above:
            return str(own.get("role", "none"))
        inherited = [role(base, (*above, name)) for base in own.get("extends", [])]
        return next((one for one in reversed(inherited) if one != "none"), "none")

    return {name: role(name) for name, own in fields.items() if own.get("summary")}


def image_fields(path: Path) -> dict[str, Any]:
    """The fields of a guest image's file; none when it is no mapping, which building the image reports."""
    source = parse(read_text(path)).source
    fields = plain(source.root) if source else None
    return fields if isinstance(fields, dict) else {}


def shipped_descriptions() -> dict[str, Path]:
    """The descriptions under system-descriptions/, by file name."""
    place = resources.folder("system-descriptions")
    return {path.name: path for path in sorted(place.glob("*.yaml"))}


def find_description(name: str) -> Path:
    """The file that a command's FILE means: a path, or the name of a shipped description with or without `.yaml`.

    Raises DescriptionError when it is neither; the hint says what is near, or what is shipped.
    """
    path = Path(name)
    if path.exists():
        return path
    shipped = shipped_descriptions()
    found = shipped.get(name) or shipped.get(f"{name}.yaml")
    if found is None:
        known = ", ".join(shipped)
        here = sorted(other.name for other in Path().glob("*.yaml"))
        near = nearest(name, [*here, *shipped, *(other.removesuffix(".yaml") for other in shipped)])
        raise DescriptionError(
            f"there is no file '{name}', and no shipped description of that name",
            f"did you mean '{near}'?  shipped: {known}" if near else f"shipped: {known}",
        )
    here_is = Path.cwd()
    return found.relative_to(here_is) if found.is_relative_to(here_is) else found
