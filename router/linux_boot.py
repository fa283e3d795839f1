# SPDX-License-Identifier: BSD-2-Clause
"""What arm64 Linux asks of whoever loads it: the header of a kernel Image, and the memory that a guest needs to start.

Source: Linux, Documentation/arch/arm64/booting.rst (header; device tree of at most 2 MiB).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from router.words import size_text

HEADER_SIZE = 64
MAGIC_OFFSET, MAGIC = 56, b"ARM\x64"
BIG_ENDIAN = 1
"""Bit of the header's flags."""

PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}
"""Compressed files by their first bytes, named after the command that unpacks them."""
OTHER_KINDS = {b"\x7fELF": "an ELF file", b"MZ": "an EFI program"}

MAX_TREE = 2 << 20
"""Bytes that a device tree may have; it gets as much room, at the end of the RAM."""
INITRD_ALIGN = 4096
ARCHIVE_ALIGN = 4
"""A newc archive that follows another one starts at a multiple of 4 bytes (Linux, initramfs buffer format)."""
ARCHIVE_GAP = 8
"""Zeros between them at least. The format of `lz4 -l` has no end: only a length of zero ends it (Linux,
lib/decompress_unlz4.c). To all other formats zeros are padding."""
WORKING_MEMORY = 64 << 20
"""What Linux needs to unpack the initramfs and start user space, on top of both images (measured: 41 MiB)."""
MEMORY_STEP = 2 << 20
"""Guest RAM is mapped in large pages of 2 MiB, the larger of the two sizes that Microkit knows on AArch64."""
MAX_OVERLAY = 64 << 10
"""Bytes to allow for a guest's own archive before it is made; it holds a few short text files, compressed."""


class NotAKernelImage(ValueError):
    """The data are not a kernel Image that can be loaded. `hint` says what to do; callers know whose file it is."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class KernelHeader:
    """The fields of an arm64 kernel Image that loading needs, in bytes."""

    text_offset: int
    """Where the kernel starts, from a 2 MiB boundary."""
    image_size: int
    """Memory from there on that the kernel takes, its zeroed data included."""

    @property
    def memory(self) -> int:
        """Bytes from the start of the RAM to the kernel's end."""
        return self.text_offset + self.image_size


def read_kernel_header(data: bytes, file_size: int) -> KernelHeader:
    """The header of an uncompressed little-endian arm64 kernel Image.

    data: the file's first HEADER_SIZE bytes or more. file_size: bytes of the whole file.
    Raises NotAKernelImage.
    """
    if len(data) < HEADER_SIZE or data[MAGIC_OFFSET:][: len(MAGIC)] != MAGIC:
        packed = next((tool for magic, tool in PACKED.items() if data.startswith(magic)), None)
        if packed:
            raise NotAKernelImage(f"not an arm64 kernel Image but a {packed} file", f"unpack it first: {packed} -d")
        kind = next((kind for magic, kind in OTHER_KINDS.items() if data.startswith(magic)), None)
        raise NotAKernelImage(
            f"not an arm64 kernel Image{f' but {kind}' if kind else ''}",
            "use arch/arm64/boot/Image of the kernel's build",
        )
    text_offset, image_size, flags = struct.unpack_from("<QQQ", data, 8)
    if flags & BIG_ENDIAN:
        raise NotAKernelImage("the kernel is big-endian", "use a kernel built without CONFIG_CPU_BIG_ENDIAN")
    if image_size == 0:
        raise NotAKernelImage("the kernel's header has no size", "use a kernel of Linux 3.17 or newer")
    if image_size < file_size:
        raise NotAKernelImage(
            f"the kernel's header says {image_size} bytes, but the file has {file_size}",
            "the file is damaged, or something is appended to it: use arch/arm64/boot/Image as the build made it",
        )
    return KernelHeader(text_offset, image_size)


def initrd_size(initramfs: int, overlay: int) -> int:
    """Bytes from the start of the initramfs to the end of the guest's own archive behind it."""
    return -(-(initramfs + ARCHIVE_GAP) // ARCHIVE_ALIGN) * ARCHIVE_ALIGN + overlay


def needed_memory(kernel: int, initramfs: int, overlay: int = MAX_OVERLAY) -> int:
    """Bytes of RAM that a guest needs to start.

    kernel: `KernelHeader.memory`. initramfs, overlay: sizes of the files, both compressed.
    """
    initrd = -(-initrd_size(initramfs, overlay) // INITRD_ALIGN) * INITRD_ALIGN
    return kernel + WORKING_MEMORY + initrd + MAX_TREE


def too_little_memory(given: int, least: int) -> tuple[str, str]:
    """Message and hint for a guest whose RAM is below `min_memory`; both in bytes."""
    text = size_text(least)
    return (
        f"{size_text(given)} is not enough memory: the guest's kernel and initramfs need {text} to start",
        f"write memory: {text} or more",
    )


def min_memory(kernel: int, initramfs: int, overlay: int = MAX_OVERLAY) -> int:
    """The smallest RAM size in bytes that a description may give such a guest: `needed_memory` in whole large pages."""
    return -(-needed_memory(kernel, initramfs, overlay) // MEMORY_STEP) * MEMORY_STEP
