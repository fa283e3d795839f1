"""Where the kernel, the initramfs and the device tree lie in a guest's RAM: the same for the monitor and for QEMU.

Sources: Linux, Documentation/arm64/booting.rst (Image header; 2 MiB aligned base plus text_offset; device tree of at
most 2 MiB, 8-byte aligned; initramfs and kernel within 32 GiB).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from router.boards.model import Range
from router.errors import DescriptionError
from router.plan.guests import round_up
from router.plan.models import LARGE_PAGE, PAGE

IMAGE_MAGIC = b"ARM\x64"
WORKING_MEMORY = 64 << 20
"""What Linux needs to unpack the initramfs and start user space, on top of both images (measured: 41 MiB)."""


@dataclass(frozen=True)
class ImageHeader:
    """The fields of an arm64 `Image` that placement needs, in bytes."""

    text_offset: int
    image_size: int


def parse_image_header(data: bytes, where: str) -> ImageHeader:
    """Read the 64-byte header; DescriptionError when it is no arm64 Image (a compressed one, say)."""
    if len(data) < 64 or data[56:60] != IMAGE_MAGIC:
        kind = "a gzip file" if data[:2] == b"\x1f\x8b" else "something else"
        raise DescriptionError(
            f"not an arm64 Linux Image but {kind}", hint="give the uncompressed arch/arm64/boot/Image", where=where
        )
    text_offset, image_size = struct.unpack_from("<QQ", data, 8)
    if image_size == 0:
        raise DescriptionError("the Image header has no size", hint="use a kernel of Linux 3.17 or newer", where=where)
    return ImageHeader(text_offset, image_size)


@dataclass(frozen=True)
class Layout:
    """Guest-physical places of what is loaded; `initrd` is the base archive with the guest's own behind it."""

    kernel: Range
    base: Range
    overlay: Range
    tree: Range

    @property
    def initrd(self) -> Range:
        return Range(self.base.start, self.overlay.end - self.base.start)


@dataclass(frozen=True)
class GuestFiles:
    """What a guest boots from, and where each part belongs."""

    kernel: Path
    base: Path
    overlay: Path
    tree: Path
    layout: Layout


def place(guest: str, ram: Range, header: ImageHeader, *, base_size: int, overlay_size: int, tree_size: int) -> Layout:
    """Kernel at the bottom, device tree in the last large page, initramfs right below it; sizes in bytes.

    DescriptionError when they and what Linux needs to start do not fit into `ram`.
    """
    if tree_size > LARGE_PAGE:
        raise DescriptionError(
            f"the device tree of guest '{guest}' is larger than 2 MiB", hint="Linux refuses such a tree"
        )
    kernel = Range(ram.start + header.text_offset, header.image_size)
    tree_start = (ram.end - LARGE_PAGE) & ~(LARGE_PAGE - 1)
    overlay_offset = round_up(base_size, 4)  # a newc archive starts at a multiple of 4 bytes
    initrd_start = (tree_start - overlay_offset - overlay_size) & ~(PAGE - 1)
    needed = kernel.end - ram.start + WORKING_MEMORY + (ram.end - initrd_start)
    if needed > ram.size:
        raise DescriptionError(
            f"guest '{guest}' has {ram.size >> 20} MiB of memory, "
            f"its kernel and initramfs need {needed >> 20} MiB to start",
            hint=f"write 'memory: {round_up(needed, 32 << 20) >> 20} MiB' or more",
        )
    return Layout(
        kernel=kernel,
        base=Range(initrd_start, base_size),
        overlay=Range(initrd_start + overlay_offset, overlay_size),
        tree=Range(tree_start, tree_size),
    )
