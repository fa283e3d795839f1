# SPDX-License-Identifier: BSD-2-Clause
"""Kernel Images, ELF programs and kernel modules from packages, from users and from build folders."""

from __future__ import annotations

import struct

from router import elf
from router.errors import HostError
from router.linux_boot import HEADER_SIZE, MAGIC, MAGIC_OFFSET, NotAKernelImage, min_memory, read_kernel_header


def header(data: bytes) -> None:
    size = len(data)
    try:
        found = read_kernel_header(data, size)
    except NotAKernelImage as error:
        assert str(error).isprintable() and error.hint
        return
    assert found.image_size >= size and found.memory >= found.image_size
    assert min_memory(found.memory, 1) > found.memory


def program(data: bytes) -> None:
    for read in (
        lambda: [len(each.data) <= len(data) or 1 / 0 for each in elf.segments(data)],
        lambda: elf.needed_libraries(data),
        lambda: elf.module_info(data),
        lambda: elf.check_machine(data, "a"),
        lambda: elf.section(data, ".text"),
    ):
        try:
            read()
        except HostError as error:
            assert error.message and error.hint


def one_input(data: bytes) -> None:
    if data[:1] == b"\x7f":
        program(data)
    else:
        header(data)


def small_elf() -> bytes:
    """One segment, and sections `.text`, `.modinfo` and their names (System V ABI, chapters 4 and 5)."""
    names = b"\0.text\0.modinfo\0.shstrtab\0"
    text, info = bytes(16), b"license=GPL\0depends=a,b\0"
    at = 64 + 56
    places = [at, at + len(text), at + len(text) + len(info)]
    end = places[2] + len(names)
    sections = [(0, 0, 0, 0), (1, 1, places[0], 16), (7, 1, places[1], len(info)), (16, 3, places[2], len(names))]
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0x200000, 64, end, 0, 64, 56, 1, 64, len(sections), 3)
    load = struct.pack("<IIQQQQQQ", 1, 5, places[0], 0x200000, 0x200000, 16, 32, 4096)
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, place, size, 0, 0, 1, 0) for name, kind, place, size in sections
    )
    return head + load + text + info + names + table


def seeds() -> list[bytes]:
    image = bytearray(HEADER_SIZE + 16)
    image[MAGIC_OFFSET : MAGIC_OFFSET + 4] = MAGIC
    struct.pack_into("<QQQ", image, 8, 0x80000, 0x1000000, 0xA)
    big, old = bytearray(image), bytearray(image)
    struct.pack_into("<Q", big, 24, 1)
    struct.pack_into("<Q", old, 16, 0)
    program = small_elf()
    return [bytes(image), bytes(big), bytes(old), b"\x1f\x8b" + bytes(80), b"MZ" + bytes(80), program, program[:100]]
