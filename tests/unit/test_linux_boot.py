# SPDX-License-Identifier: BSD-2-Clause
"""A kernel Image is known by its header, and the memory that a guest needs is computed in one place."""

from __future__ import annotations

import struct

import pytest

from router.linux_boot import KernelHeader, NotAKernelImage, min_memory, needed_memory, read_kernel_header

MiB = 1 << 20


def header(text_offset: int, image_size: int, flags: int = 0) -> bytes:
    return struct.pack("<IIQQQ", 0, 0, text_offset, image_size, flags).ljust(56, b"\0") + b"ARM\x64" + bytes(4)


def test_the_header_gives_the_offset_and_the_size() -> None:
    found = read_kernel_header(header(0x80000, 36 * MiB), 30 * MiB)
    assert found == KernelHeader(0x80000, 36 * MiB)
    assert found.memory == 36 * MiB + 0x80000


@pytest.mark.parametrize(
    ("data", "size", "says", "hint"),
    [
        (b"\x1f\x8b" + bytes(62), 64, "but a gzip file", "gzip -d"),
        (b"\x28\xb5\x2f\xfd" + bytes(60), 64, "but a zstd file", "zstd -d"),
        (b"MZ" + bytes(62), 64, "but an EFI program", "arch/arm64/boot/Image"),
        (b"\x7fELF" + bytes(60), 64, "but an ELF file", "arch/arm64/boot/Image"),
        (header(0, 4096)[:40], 40, "not an arm64 kernel Image", "arch/arm64/boot/Image"),
        (bytes(64), 64, "not an arm64 kernel Image", "arch/arm64/boot/Image"),
        (header(0, 0), 64, "has no size", "3.17"),
        (header(0, 4096, 1), 64, "big-endian", "CONFIG_CPU_BIG_ENDIAN"),
        (header(0, 4096), 4097, "says 4096 bytes, but the file has 4097", "damaged"),
    ],
)
def test_another_file_is_refused_by_what_it_is_with_a_way_out(data: bytes, size: int, says: str, hint: str) -> None:
    with pytest.raises(NotAKernelImage, match=says) as caught:
        read_kernel_header(data, size)
    assert hint in caught.value.hint


def test_the_minimum_memory_is_the_sum_of_what_starting_takes_in_large_pages() -> None:
    assert needed_memory(33 * MiB, 6 * MiB, 1) == (33 + 64 + 6 + 2) * MiB + 4096
    assert min_memory(33 * MiB, 6 * MiB, 1) == 106 * MiB
    assert min_memory(33 * MiB, 5 * MiB - 8, 0) == 104 * MiB
