# SPDX-License-Identifier: BSD-2-Clause
"""Where the kernel, the initramfs and the device tree lie in a guest's RAM: the same for the VMM and for QEMU.

Source: Linux, Documentation/arch/arm64/booting.rst (2 MiB aligned base plus text_offset; device tree 8-byte aligned;
initramfs and kernel within 32 GiB).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from router.boards.model import Range
from router.errors import DescriptionError
from router.linux_boot import (
    INITRD_ALIGN,
    MAX_TREE,
    KernelHeader,
    initrd_size,
    min_memory,
    needed_memory,
    too_little_memory,
)


@dataclass(frozen=True)
class GuestLayout:
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
    layout: GuestLayout


def place(
    guest: str, ram: Range, header: KernelHeader, *, base_size: int, overlay_size: int, tree_size: int
) -> GuestLayout:
    """Kernel at the bottom, device tree in the last large page, initramfs right below it; sizes in bytes.

    DescriptionError when they and what Linux needs to start do not fit into `ram`.
    """
    if tree_size > MAX_TREE:
        raise DescriptionError(
            f"the device tree of guest '{guest}' is larger than 2 MiB", hint="Linux refuses such a tree"
        )
    if needed_memory(header.memory, base_size, overlay_size) > ram.size:
        least = min_memory(header.memory, base_size, overlay_size)
        raise DescriptionError(*too_little_memory(ram.size, least))
    kernel = Range(ram.start + header.text_offset, header.image_size)
    tree_start = (ram.end - MAX_TREE) & ~(MAX_TREE - 1)
    initrd_start = (tree_start - initrd_size(base_size, overlay_size)) & ~(INITRD_ALIGN - 1)
    overlay_start = initrd_start + initrd_size(base_size, 0)
    return GuestLayout(
        kernel=kernel,
        base=Range(initrd_start, base_size),
        overlay=Range(overlay_start, overlay_size),
        tree=Range(tree_start, tree_size),
    )
