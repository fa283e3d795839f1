# SPDX-License-Identifier: BSD-2-Clause
"""Programs, libraries and modules are read as ELF files, and everything else is refused."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from router.elf import check_machine, is_elf, section, segments
from router.errors import HostError
from router.microkit.compile import Sizes, sizes


def program(data: bytes, memory_size: int, flags: int = 5, machine: int = 183) -> bytes:
    """A program of one loaded segment at 0x200000."""
    header = b"\x7fELF\2\1\1".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0x20_0000, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, flags, 120, 0x20_0000, 0x20_0000, len(data), memory_size, 8) + data


def test_a_segment_has_its_bytes_and_what_is_zeroed_behind_them(tmp_path: Path) -> None:
    raw = program(b"code", 100)
    (only,) = segments(raw)
    assert (only.address, only.data, only.memory_size, only.executable) == (0x20_0000, b"code", 100, True)
    assert not segments(program(b"data", 4, flags=6))[0].executable
    (tmp_path / "a.elf").write_bytes(raw)
    assert sizes(tmp_path / "a.elf") == Sizes(loaded=4, zeroed=96)


def test_another_machines_program_is_refused_by_name() -> None:
    check_machine(program(b"", 0), "a.out")
    with pytest.raises(HostError, match=r"a\.out is not an arm64 ELF file"):
        check_machine(program(b"", 0, machine=62), "a.out")
    assert not is_elf(b"\x7fELF\1\1")


def test_a_section_that_is_not_there_is_an_error() -> None:
    with pytest.raises(HostError, match=r"without the section \.text\.guard"):
        section(program(b"", 0), ".text.guard")


def test_sizes_are_those_that_binutils_says(tmp_path: Path) -> None:
    tools = [shutil.which(f"aarch64-linux-gnu-{tool}") for tool in ("gcc", "readelf")]
    if None in tools:
        pytest.skip("gcc-aarch64-linux-gnu is not installed")
    source, made = tmp_path / "a.c", tmp_path / "a.elf"
    source.write_text("int zeroed[1000]; int set = 5; int _start(void) { return zeroed[3] + set; }\n")
    subprocess.run([str(tools[0]), "-nostdlib", "-static", "-o", made, source], check=True)
    shown = subprocess.run([str(tools[1]), "-lW", made], capture_output=True, text=True, check=True).stdout
    loads = [line.split() for line in shown.splitlines() if line.split()[:1] == ["LOAD"]]
    in_file, in_memory = (sum(int(line[n], 16) for line in loads) for n in (4, 5))
    assert sizes(made) == Sizes(in_file, in_memory - in_file)
    assert in_memory > in_file
