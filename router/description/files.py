"""The files that a description names: there, readable, and of the kind that their field wants."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

from router.description.models import ImageFiles
from router.description.parts import Finding, Parts
from router.words import did_you_mean

ARM64_MAGIC_AT, ARM64_MAGIC = 56, b"ARMd"
"""In the header of an arm64 kernel Image (Linux, Documentation/arch/arm64/booting.rst)."""
DTB_MAGIC = b"\xd0\x0d\xfe\xed"
"""The first word of a flattened device tree (Devicetree Specification 0.4, section 5.2)."""
COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}
HEAD = 64
"""Bytes that are read of each."""


def check(parts: Parts, device_tree: Path | None, base: Path) -> Iterator[Finding]:
    """Findings about all files; paths are relative to `base`, the folder of the description."""
    if device_tree is not None:
        path: tuple[str | int, ...] = ("device_tree",)
        head = yield from opened(path, base, device_tree)
        if head is not None and not head.startswith(DTB_MAGIC):
            hint = "compile it first: dtc -O dtb -o board.dtb board.dts" if device_tree.suffix == ".dts" else None
            yield Finding(path, f"'{device_tree}' is no device tree blob", hint)
    for name, guest in parts.guests.items():
        if guest is None or not isinstance(guest.image, ImageFiles):
            continue
        path = ("guests", name, "image", "initramfs")
        yield from opened(path, base, guest.image.initramfs)
        path = ("guests", name, "image", "kernel")
        head = yield from opened(path, base, guest.image.kernel)
        if head is not None and head[ARM64_MAGIC_AT:][:4] != ARM64_MAGIC:
            packed = next((how for magic, how in COMPRESSED.items() if head.startswith(magic)), None)
            yield Finding(
                path,
                f"'{guest.image.kernel}' is no arm64 kernel Image"
                + (f", but a file packed by {packed}" if packed else ""),
                f"unpack it first: {packed} -d" if packed else "take arch/arm64/boot/Image of the kernel's build",
            )


def opened(path: tuple[str | int, ...], base: Path, file: Path) -> Generator[Finding, None, bytes | None]:
    """The first bytes of a file, or a finding and None."""
    full = base / file
    try:
        if full.is_dir():
            yield Finding(path, f"'{file}' is a folder", "name a file")
            return None
        with full.open("rb") as stream:
            return stream.read(HEAD)
    except FileNotFoundError:
        hint = near(full) or "paths are relative to the folder of the description"
        yield Finding(path, f"there is no file '{file}'", hint)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or "unknown reason"
        yield Finding(path, f"cannot read '{file}': {reason}", "check the path and its permissions")
    return None


def near(full: Path) -> str | None:
    """A hint at a file beside the missing one."""
    try:
        return did_you_mean(full.name, sorted(other.name for other in full.parent.iterdir()))
    except OSError:
        return f"the folder {full.parent} is not there or cannot be read"
