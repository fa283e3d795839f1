"""The loaded segments of a program, from its ELF headers (System V ABI, chapter 5; 64-bit, little-endian)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

PT_LOAD = 1
FLAGS = ((4, "r"), (2, "w"), (1, "x"))
"""Bits of `p_flags` in the order in which rights are written."""


@dataclass(frozen=True)
class Segment:
    """A segment that is loaded; sizes in bytes."""

    vaddr: int
    in_file: int
    size: int
    """In memory: what the file does not bring is zeroed."""
    rights: str
    """Of `rwx`."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of a program's loaded segments: what its file brings (text and data), and what is zeroed beside it."""

    loaded: int
    zeroed: int


def segments(program: Path) -> tuple[Segment, ...]:
    """The segments of a program that have a size."""
    raw = program.read_bytes()
    (table,) = struct.unpack_from("<Q", raw, 32)
    entry, count = struct.unpack_from("<HH", raw, 54)
    found = []
    for place in range(table, table + entry * count, entry):
        kind, flags, _, vaddr, _, in_file, in_memory, _ = struct.unpack_from("<IIQQQQQQ", raw, place)
        if kind == PT_LOAD and in_memory:
            rights = "".join(letter for bit, letter in FLAGS if flags & bit)
            found.append(Segment(vaddr, in_file, in_memory, rights))
    return tuple(found)


def sizes(program: Path) -> Sizes:
    """The sizes of a program's segments."""
    found = segments(program)
    loaded = sum(each.in_file for each in found)
    return Sizes(loaded, sum(each.size for each in found) - loaded)
