# SPDX-License-Identifier: BSD-2-Clause
"""What guest-images/*.yaml say of each guest image: its role, packages, kernel modules, programs, files, sizes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from router import resources
from router.description.diagnostics import DescriptionErrors
from router.description.source import parse, plain
from router.description.text import read_text
from router.errors import DescriptionError
from router.words import did_you_mean

SHIPPED = resources.root() / "guest-images"
WITH_DISKS = "-disks"
"""How the name of an image ends that also has what disks as blocks need."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModuleLists(_Strict):
    """Kernel modules by when they load. Dependencies of each list are added.

    boot: in this order, before the guest's program starts; late: in the background, once it runs;
    available: not loaded automatically, but modprobe finds them; optional: the same, if the kernel has them.
    disks: available in the images of guests whose disks go as blocks, and in no others.
    """

    boot: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    available: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()


class PythonParts(_Strict):
    """Standard library modules beyond what the programs import, and those to leave out although imported."""

    extra: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class BootSizes(_Strict):
    """What the image occupies when it boots, in MiB, rounded up; measured, so that a check need not build the image."""

    kernel: int
    """Memory of the kernel, its zeroed data included (the `image_size` of its header)."""
    initramfs: int
    """The compressed initramfs."""


class ImageDefinition(_Strict):
    """One image type, with what it `extends` merged in (lists: the base's come first)."""

    extends: tuple[str, ...] = ()
    summary: str = ""
    role: Literal["server", "client", "none"] = "none"
    """What the guest does for USB: export devices, use them, or neither."""
    packages: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    trees: tuple[str, ...] = ()
    modules: ModuleLists = ModuleLists()
    python: PythonParts = PythonParts()
    boot_sizes: BootSizes | None = None
    read_only: bool | None = None
    """Whether the root cannot be written to once init runs; None: as the base says, and else not."""
    lock_kernel: bool | None = None
    """Whether the kernel takes no more code once all modules are loaded; None: as the base says, and else not."""


class OwnParts(_Strict):
    """What a description adds to an image type. Paths are absolute or relative to the current folder.

    packages: taken whole; files: a folder laid over the root; run: started once by the guest; place: where the
    description names the image, for errors.
    """

    packages: tuple[str, ...] = ()
    files: Path | None = None
    run: Path | None = None
    place: str


class Definition(_Strict):
    """A named image type and the files that it was read from; `own`: what a description adds to it."""

    name: str
    image: ImageDefinition
    folder: Path
    sources: tuple[Path, ...]
    own: OwnParts | None = None

    @property
    def place(self) -> str:
        """Where an error of the image is to be mended."""
        return self.own.place if self.own else str(self.sources[-1])

    def extended(self, name: str, own: OwnParts, modules: tuple[str, ...]) -> Definition:
        """This image type with more packages, kernel modules and files.

        modprobe finds the modules. Where the kernel is locked once `late` is loaded nothing could load them later, so
        there they are loaded with `late`.
        """
        lists = ModuleLists(late=modules) if self.image.lock_kernel else ModuleLists(available=modules)
        more = ImageDefinition(packages=own.packages, modules=lists)
        return self.model_copy(update={"name": name, "image": _merge(self.image, more), "own": own})

    def with_disks(self) -> Definition:
        """This image type for a guest whose disks go as blocks."""
        more = ImageDefinition(modules=ModuleLists(available=self.image.modules.disks))
        return self.model_copy(update={"name": self.name + WITH_DISKS, "image": _merge(self.image, more)})

    def tree_files(self) -> Iterator[tuple[str, Path]]:
        """(guest path, file) of the trees that are copied as they are; a later tree replaces an earlier one's files."""
        for tree in self.image.trees:
            for path in sorted((self.folder / tree).rglob("*")):
                if path.is_file():
                    yield str(path.relative_to(self.folder / tree)), path

    def modules(self) -> list[str]:
        """Every module that the image carries by name, without the optional ones."""
        lists = self.image.modules
        return [*lists.boot, *lists.late, *lists.available]


def extend_definitions(folder: Path, texts: Mapping[str, str]) -> Path:
    """The shipped definitions and, beside them, those of `texts` (name → YAML), in a folder that is made once."""
    if not folder.exists():
        shutil.copytree(SHIPPED, folder)
        for name, text in texts.items():
            (folder / f"{name}.yaml").write_text(text)
    return folder


def image_names(folder: Path = SHIPPED) -> list[str]:
    """The image types that a description may name: those with a summary, sorted."""
    return [path.stem for path in sorted(folder.glob("*.yaml")) if _load(path).summary]


def load_definition(name: str, folder: Path = SHIPPED) -> Definition:
    """The image type `name` with all it extends; DescriptionError when there is none or its file is wrong."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = image_names(folder)
        hint = did_you_mean(name, known) or f"known images: {', '.join(known)}"
        raise DescriptionError(f"no guest image '{name}'", hint)
    merged: ImageDefinition | None = None
    paths = _chain(path, folder, ())
    for part in paths:
        merged = _merge(merged, _load(part)) if merged else _load(part)
    assert merged is not None
    definition = Definition(name=name, image=merged, folder=folder, sources=tuple(paths))
    for tree in merged.trees:
        if not (folder / tree).is_dir():
            raise DescriptionError(f"no folder '{tree}'", "trees are folders beside this file", str(path))
    return definition


def _chain(path: Path, folder: Path, seen: tuple[Path, ...]) -> list[Path]:
    if path in seen:
        raise DescriptionError("extends itself", "break the circle", str(path))
    chain: list[Path] = []
    for base in _load(path).extends:
        if not (folder / f"{base}.yaml").is_file():
            raise DescriptionError(f"no guest image '{base}' to extend", None, str(path))
        chain += [p for p in _chain(folder / f"{base}.yaml", folder, (*seen, path)) if p not in chain]
    return [*chain, path]


def _load(path: Path) -> ImageDefinition:
    parsed = parse(read_text(path))
    if parsed.problems or parsed.source is None:
        raise DescriptionErrors(parsed.problems)
    try:
        return ImageDefinition.model_validate(_frozen(plain(parsed.source.root)))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DescriptionError(
            f"{field}: {first['msg']}", "see docs/reference/guest-images.md", parsed.source.place(first["loc"])
        ) from error


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return {key: _frozen(item) for key, item in value.items()} if isinstance(value, dict) else value


def _merge(base: ImageDefinition, top: ImageDefinition) -> ImageDefinition:
    return ImageDefinition(
        extends=top.extends,
        summary=top.summary or base.summary,
        role=base.role if top.role == "none" else top.role,
        packages=_joined(base.packages, top.packages),
        files=_joined(base.files, top.files),
        trees=_joined(base.trees, top.trees),
        modules=ModuleLists(
            boot=_joined(base.modules.boot, top.modules.boot),
            late=_joined(base.modules.late, top.modules.late),
            available=_joined(base.modules.available, top.modules.available),
            optional=_joined(base.modules.optional, top.modules.optional),
            disks=_joined(base.modules.disks, top.modules.disks),
        ),
        boot_sizes=top.boot_sizes or base.boot_sizes,
        read_only=base.read_only if top.read_only is None else top.read_only,
        lock_kernel=base.lock_kernel if top.lock_kernel is None else top.lock_kernel,
        python=PythonParts(
            extra=_joined(base.python.extra, top.python.extra), exclude=_joined(base.python.exclude, top.python.exclude)
        ),
    )


def _joined(base: tuple[str, ...], top: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*base, *top]))
