"""Just enough ELF64 little-endian to read what a guest image asks of a binary: its libraries, a module's `.modinfo`.

Layout: ELF-64 Object File Format 1.5, and <elf.h> for the constants.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from router.errors import HostError

_MAGIC = b"\x7fELF\x02\x01"  # 64-bit, little-endian
_EM_AARCH64 = 183
_SHT_DYNAMIC = 6
_DT_NULL, _DT_NEEDED = 0, 1
_Section = tuple[int, int, int, int, int]  # name offset, type, file offset, size, link


def is_elf(data: bytes) -> bool:
    """True when `data` starts like a 64-bit little-endian ELF file."""
    return data[:6] == _MAGIC


def needed_libraries(data: bytes) -> list[str]:
    """The DT_NEEDED names (sonames) of a dynamically linked executable or library; [] for a static one."""
    sections = _sections(data)
    names = []
    for _, kind, offset, size, link in sections:
        if kind != _SHT_DYNAMIC:
            continue
        strings = sections[link]
        for tag, value in struct.iter_unpack("<QQ", data[offset : offset + size - size % 16]):
            if tag == _DT_NULL:
                break
            if tag == _DT_NEEDED:
                names.append(_string(data, strings[2] + value))
    return names


def module_info(data: bytes) -> dict[str, list[str]]:
    """The key=value strings of a kernel module's `.modinfo` section, in order; a key may occur many times."""
    info: dict[str, list[str]] = {}
    for start, size in _named(data, ".modinfo"):
        for item in data[start : start + size].split(b"\0"):
            key, equals, value = item.decode("utf-8", "replace").partition("=")
            if equals:
                info.setdefault(key, []).append(value)
    return info


def check_machine(data: bytes, name: str) -> None:
    """Raises HostError unless `data` is an ELF file for AArch64."""
    if not is_elf(data) or struct.unpack_from("<H", data, 18)[0] != _EM_AARCH64:
        raise HostError(f"{name} is not an arm64 ELF file", "the package comes from another architecture or is damaged")


def _sections(data: bytes) -> list[_Section]:
    if not is_elf(data):
        raise HostError("not a 64-bit little-endian ELF file", "the package is damaged: remove it from the cache")
    try:
        (offset,) = struct.unpack_from("<Q", data, 40)
        entry_size, count = struct.unpack_from("<HH", data, 58)
        found = []
        for index in range(count):
            name, kind, _, _, start, size, link = struct.unpack_from("<IIQQQQI", data, offset + index * entry_size)
            found.append((name, kind, start, size, link))
    except struct.error as error:
        raise HostError("a truncated ELF file", "the package is damaged: remove it from the cache") from error
    return found


def _named(data: bytes, wanted: str) -> Iterator[tuple[int, int]]:
    sections = _sections(data)
    (table,) = struct.unpack_from("<H", data, 62)
    for name, _, start, size, _ in sections:
        if table < len(sections) and _string(data, sections[table][2] + name) == wanted:
            yield start, size


def _string(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode("utf-8", "replace")
