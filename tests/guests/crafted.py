# SPDX-License-Identifier: BSD-2-Clause
"""Crafted binaries for the tests: ELF files and kernel modules of a few bytes."""

from __future__ import annotations

import struct

EM_AARCH64 = 183


def make_elf(sections: dict[str, tuple[int, bytes, int]], machine: int = EM_AARCH64) -> bytes:
    """A minimal ELF64 file: section name -> (type, content, link to the section of that index)."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in sections) + b".shstrtab\0"
    body = b""
    headers = [struct.pack("<IIQQQQIIQQ", *([0] * 10))]
    everything = [*sections.items(), (".shstrtab", (3, names, 0))]
    for name, (kind, content, link) in everything:
        at = names.index(b"\0" + name.encode() + b"\0") + 1
        headers.append(struct.pack("<IIQQQQIIQQ", at, kind, 0, 0, 64 + len(body), len(content), link, 0, 1, 0))
        body += content
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH", 1, machine, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(headers), len(headers) - 1
    )
    return head + body + b"".join(headers)


def make_module(machine: int = EM_AARCH64, **info: str | list[str]) -> bytes:
    """A kernel module that has nothing but `.modinfo`."""
    items = []
    for key, value in info.items():
        for one in value if isinstance(value, list) else [value]:
            items.append(f"{key}={one}\0")
    return make_elf({".modinfo": (1, "".join(items).encode(), 0)}, machine)
