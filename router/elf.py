# SPDX-License-Identifier: BSD-2-Clause
"""What we ask of ELF files: a program's segments, the libraries it needs, a kernel module's `.modinfo`.

pyelftools reads them; it is imported on first use, because that takes longer than most commands that need no ELF file.
Files come out of packages and build folders, so a damaged one is the host's error, with what to do about it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router.errors import HostError

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

_MAGIC = b"\x7fELF\x02\x01"  # 64-bit, little-endian
_DAMAGED = "the package or the build folder is damaged: remove it, and it is made again"


@dataclass(frozen=True)
class Segment:
    """A loaded segment: its bytes in the file, and how many it has in memory (more where it ends in zeros)."""

    address: int
    data: bytes
    memory_size: int
    rights: str
    """Of `rwx`."""

    @property
    def executable(self) -> bool:
        """Whether its bytes are instructions."""
        return "x" in self.rights


def is_elf(data: bytes) -> bool:
    """Whether `data` starts like a 64-bit little-endian ELF file."""
    return data[:6] == _MAGIC


def segments(data: bytes) -> list[Segment]:
    """The loaded segments (PT_LOAD) of a program, in the file's order."""
    with _opened(data) as elf:
        return [
            Segment(each["p_vaddr"], each.data(), each["p_memsz"], _rights(each["p_flags"]))
            for each in elf.iter_segments("PT_LOAD")
        ]


def _rights(flags: int) -> str:
    """The bits of p_flags (System V ABI, chapter 5) in the order in which rights are written."""
    return "".join(letter for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if flags & bit)


def section(data: bytes, name: str) -> bytes:
    """The content of the section of that name; HostError when there is none."""
    with _opened(data) as elf:
        found = elf.get_section_by_name(name)
        if found is None:
            raise HostError(f"an ELF file without the section {name}", _DAMAGED)
        return bytes(found.data())


def needed_libraries(data: bytes) -> list[str]:
    """The DT_NEEDED names (sonames) of a dynamically linked executable or library; [] for a static one."""
    from elftools.elf.dynamic import DynamicSection

    with _opened(data) as elf:
        return [
            str(tag.needed)  # type: ignore[attr-defined]  # set for this tag only
            for section in elf.iter_sections("SHT_DYNAMIC")
            if isinstance(section, DynamicSection)
            for tag in section.iter_tags()
            if tag.entry.d_tag == "DT_NEEDED"
        ]


def module_info(data: bytes) -> dict[str, list[str]]:
    """The key=value strings of a kernel module's `.modinfo` section, in order; a key may occur many times."""
    info: dict[str, list[str]] = {}
    with _opened(data) as elf:
        section = elf.get_section_by_name(".modinfo")
        for item in section.data().split(b"\0") if section is not None else ():
            key, equals, value = item.decode("utf-8", "replace").partition("=")
            if equals:
                info.setdefault(key, []).append(value)
    return info


def check_machine(data: bytes, name: str) -> None:
    """HostError unless `data` is an ELF file for AArch64."""
    if is_elf(data):
        with _opened(data) as elf:
            if elf["e_machine"] == "EM_AARCH64":
                return
    raise HostError(f"{name} is not an arm64 ELF file", "the package comes from another architecture or is damaged")


@contextmanager
def _opened(data: bytes) -> Iterator[ELFFile]:
    from elftools.common.exceptions import ELFError
    from elftools.construct import ConstructError
    from elftools.elf.elffile import ELFFile

    if not is_elf(data):
        raise HostError("not a 64-bit little-endian ELF file", _DAMAGED)
    try:
        yield ELFFile(io.BytesIO(data))
    except HostError:
        raise
    except (ELFError, ConstructError, LookupError, ValueError, AttributeError, TypeError, OverflowError) as error:
        # pyelftools checks little of what a damaged file says.
        raise HostError(f"a damaged ELF file: {error or type(error).__name__}", _DAMAGED) from error
