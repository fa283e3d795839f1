# SPDX-License-Identifier: BSD-2-Clause
"""The files that a description names: there, readable, and of the kind that their field wants.

A description may come from anywhere, and a guest gets what its image names. So a file outside the description's folder
is read only once the user has agreed to it (`router trust DESCRIPTION`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from router import files, trusted
from router.description.models import Description, ExtendedImage, Guest, ImageFiles
from router.description.own_files import is_inside, wrong_folder, wrong_program
from router.description.parts import Finding, Parts
from router.linux_boot import HEADER_SIZE, NotAKernelImage, min_memory, too_little_memory
from router.own_kernel import own_kernel
from router.words import did_you_mean

ModelPath = tuple[str | int, ...]
LZ4_FRAME = b"\x04\x22\x4d\x18"
"""What `lz4` writes without -l. Linux knows the older format only (lib/decompress_unlz4.c, ARCHIVE_MAGICNUMBER)."""
DTB_MAGIC = b"\xd0\x0d\xfe\xed"
"""The first word of a flattened device tree (Devicetree Specification 0.4, section 5.2)."""


def check(parts: Parts, device_tree: Path | None, description: Path) -> Iterator[Finding]:
    """Findings about all files; paths are relative to the folder of the file `description`."""
    base = description.parent
    if device_tree is not None:
        path: ModelPath = ("device_tree",)
        head = yield from opened(path, description, device_tree)
        if head is not None and not head.head.startswith(DTB_MAGIC):
            hint = "compile it first: dtc -O dtb -o board.dtb board.dts" if device_tree.suffix == ".dts" else None
            yield Finding(path, f"'{device_tree}' is not a device tree blob", hint)
    for name, guest in parts.guests.items():
        if guest is not None and isinstance(guest.image, ImageFiles):
            yield from own_image(("guests", name), description, guest, guest.image)
        if guest is not None and isinstance(guest.image, ExtendedImage):
            yield from extended_image(("guests", name, "image"), base, guest.image)


def extended_image(path: ModelPath, base: Path, image: ExtendedImage) -> Iterator[Finding]:
    """Findings about what an image of the user's own takes from the description's folder."""
    if image.files is not None and (wrong := wrong_folder(base, image.files)):
        yield Finding((*path, "files"), *wrong)
    if image.run is not None and (wrong := wrong_program(base, image.run)):
        yield Finding((*path, "run"), *wrong)


def own_image(path: ModelPath, description: Path, guest: Guest, image: ImageFiles) -> Iterator[Finding]:
    """Findings about the kernel and the initramfs that the user names for one guest, and the memory they need."""
    initramfs = yield from opened((*path, "image", "initramfs"), description, image.initramfs)
    if initramfs is not None and initramfs.head.startswith(LZ4_FRAME):
        yield Finding(
            (*path, "image", "initramfs"),
            f"'{image.initramfs}' is an lz4 frame, which Linux does not unpack",
            f"pack it as the kernel's build does: lz4 -d <{quote(str(image.initramfs))} | lz4 -l >initramfs.lz4",
        )
    kernel = yield from opened((*path, "image", "kernel"), description, image.kernel)
    if kernel is None:
        return
    try:
        header, _ = own_kernel(description.parent / image.kernel)
    except NotAKernelImage as error:
        yield Finding((*path, "image", "kernel"), f"'{image.kernel}': {error}", error.hint)
        return
    least = min_memory(header.memory, initramfs.size) if initramfs is not None else 0
    if guest.memory < least:
        yield Finding((*path, "memory"), *too_little_memory(guest.memory, least))


def by_content(description: Description, base: Path) -> Description:
    """The description with one name for own files of equal content, so that they are carried once.

    base: the folder of the description; the files are there, as `check` has seen.
    """
    own = {name: guest.image for name, guest in description.guests.items() if isinstance(guest.image, ImageFiles)}
    sizes = {path: (base / path).stat().st_size for image in own.values() for path in (image.kernel, image.initramfs)}
    shared = Counter(sizes.values())
    first: dict[str, Path] = {}
    # Only files of equal size are read.
    same = {
        path: first.setdefault(files.sha256(base / path), path) if shared[size] > 1 else path
        for path, size in sizes.items()
    }
    if all(path == one for path, one in same.items()):
        return description
    images = {
        name: image.model_copy(update={"kernel": same[image.kernel], "initramfs": same[image.initramfs]})
        for name, image in own.items()
    }
    guests = {
        name: guest.model_copy(update={"image": images[name]}) if name in images else guest
        for name, guest in description.guests.items()
    }
    return description.model_copy(update={"guests": guests})


@dataclass(frozen=True)
class Opened:
    """A file's first bytes and its size."""

    head: bytes
    size: int


def opened(path: ModelPath, description: Path, file: Path) -> Generator[Finding, None, Opened | None]:
    """What a file begins with, or a finding and None."""
    full = description.parent / file
    try:
        if not is_inside(description.parent, file) and not trusted.is_agreed_to(description, reading(full)):
            yield Finding(
                path,
                f"'{file}' is outside the description's folder",
                f"copy it there, or let this description read it: router trust {quote(str(description))}",
            )
            return None
        if full.is_dir():
            yield Finding(path, f"'{file}' is a folder", "name a file")
            return None
        with files.open_regular(full) as stream:
            return Opened(stream.read(HEADER_SIZE), os.fstat(stream.fileno()).st_size)
    except FileNotFoundError:
        hint = near(full) or "paths are relative to the description's folder"
        yield Finding(path, f"there is no file '{file}'", hint)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle, before Python 3.13
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or "unknown reason"
        yield Finding(path, f"cannot read '{file}': {reason}", "check the path and its permissions")
    return None


def reading(full: Path) -> bytes:
    """What the record of the user's agreement to a description's reading of a file is kept under, with the description.

    It outlasts changes of both, so that a kernel that is built again needs no new agreement.
    """
    return b"reads\0" + os.fsencode(full.resolve())


def near(full: Path) -> str | None:
    """A hint at a file with a similar name in the same folder."""
    try:
        return did_you_mean(full.name, sorted(other.name for other in full.parent.iterdir()))
    except OSError:
        return f"the folder {full.parent} is not there or cannot be read"
