# SPDX-License-Identifier: BSD-2-Clause
"""What a description can refer to by name: shipped descriptions, boards, guest images. And where those are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from router import resources
from router.description.guest_image import BootSizes, image_names, load_definition
from router.errors import DescriptionError
from router.linux_boot import min_memory
from router.words import nearest

Role = str
"""`server`, `client` or `none`."""


@dataclass(frozen=True)
class Catalogue:
    """The names that a description may use."""

    boards: Sequence[str]
    images: Mapping[str, Role]
    """Guest images and what they do for USB."""
    boot_sizes: Mapping[str, BootSizes] = field(default_factory=dict)
    """Of the guest images for which it is recorded: how much memory they take when they boot."""
    read_only: Collection[str] = ()
    """The guest images whose root stays as it is."""

    def boot_memory(self, image: str) -> int | None:
        """The smallest `memory` in bytes for guests of an image; None when its sizes are not recorded."""
        sizes = self.boot_sizes.get(image)
        return min_memory(sizes.kernel << 20, sizes.initramfs << 20) if sizes else None


def shipped_catalogue() -> Catalogue:
    """The boards and guest images that this installation has; DescriptionError when an image's file is wrong."""
    from router.boards import names

    return image_catalogue(names(), resources.folder("guest-images"))


def image_catalogue(boards: Sequence[str], folder: Path) -> Catalogue:
    """These boards and the guest images of a folder."""
    images = {name: load_definition(name, folder).image for name in image_names(folder)}
    return Catalogue(
        boards,
        {name: image.role for name, image in images.items()},
        {name: image.boot_sizes for name, image in images.items() if image.boot_sizes is not None},
        frozenset(name for name, image in images.items() if image.read_only),
    )


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
            f"no file and no shipped description is called '{name}'",
            f"did you mean '{near}'?  shipped: {known}" if near else f"shipped: {known}",
        )
    here_is = Path.cwd()
    return found.relative_to(here_is) if found.is_relative_to(here_is) else found
