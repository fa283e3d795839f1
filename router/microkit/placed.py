# SPDX-License-Identifier: BSD-2-Clause
"""An SDK whose boot loader is linked to where the board wants it.

Microkit's loader copies the initial task to behind the kernel, so its own place limits what an image can carry. The
SDKs' loaders for the EVKs are linked 16 MiB above the start of the RAM, which two Linux guests do not fit in: the tool
refuses them ("Overlapping regions"). Between one SDK's loaders for boards of the same SoC only the absolute addresses
differ, so a loader is moved by adding the distance to these: what links it to 0x50000000 for the MaaXBoard is then byte
for byte what the SDK itself has there.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from router import files
from router.elf import segments
from router.errors import HostError
from router.microkit.sdk import Sdk, survey
from router.plan.models import SystemPlan

LOADER = "loader.elf"
PAGE = 0x1000

# ELF64 (System V ABI, chapters 4 and 5): offsets in the headers, and the sizes of their entries.
_ENTRY, _PROGRAM_HEADERS, _SECTION_HEADERS, _COUNTS = 24, 32, 40, 54
_PROGRAM_HEADER, _SECTION_HEADER, _SYMBOL = 56, 64, 24
_LOADED, _SYMBOL_TABLE, _ABSOLUTE = 1, 2, 0xFFF1


@contextmanager
def placed_sdk(plan: SystemPlan, sdk: Sdk) -> Iterator[Path]:
    """What the tool takes for the SDK: the SDK itself, or for a while a folder of links to it with a moved loader.

    The folder is not in the build folder, where links are refused. HostError when the SDK lacks the board, or its
    loader cannot be moved.
    """
    board, config = plan.board.microkit, plan.config
    source = sdk.board_dir(board, config)
    with files.naming(source / "elf" / LOADER):
        loader = (source / "elf" / LOADER).read_bytes()
    if link_address(loader) == plan.board.loader:
        yield sdk.path
        return
    with tempfile.TemporaryDirectory(prefix="router-") as folder:
        elf = Path(folder) / "board" / board / config / "elf"
        elf.mkdir(parents=True)
        _link_all(source, elf.parent, but="elf")
        _link_all(source / "elf", elf, but=LOADER)
        _link_all(sdk.path, Path(folder), but="board")
        (elf / LOADER).write_bytes(moved_loader(loader, plan.board.loader))
        yield Path(folder)


def _link_all(source: Path, folder: Path, but: str) -> None:
    for each in source.iterdir():
        if each.name != but:
            (folder / each.name).symlink_to(each)


def sdk_loader(board: str) -> int | None:
    """Where an installed SDK, the newest first, links its loader for the board of that name to; None without one."""
    for sdk in survey()[0]:
        for config in sdk.boards.get(board, ()):
            path = sdk.board_dir(board, config) / "elf" / LOADER
            if path.is_file():
                return link_address(path.read_bytes())
    return None


def link_address(loader: bytes) -> int:
    """Where a loader is linked to: the start of its one segment. HostError for another kind of program."""
    loaded = segments(loader)
    if len(loaded) != 1:
        raise HostError(f"the SDK's {LOADER} has {len(loaded)} segments, and one is expected", hint="reinstall the SDK")
    return loaded[0].address


def moved_loader(loader: bytes, address: int) -> bytes:
    """The loader (ELF64, one segment, addressing relative to its pages) linked to `address` instead.

    HostError when the distance is no whole number of pages, or something in it cannot be told from an address.
    """
    (segment,) = segments(loader)
    start, end = segment.address, segment.address + segment.memory_size
    distance = address - start
    if distance % PAGE:
        raise HostError(f"the boot loader is at {start:#x} and cannot be moved to {address:#x}: not whole pages")
    out = bytearray(loader)

    def shift(at: int) -> None:
        (value,) = struct.unpack_from("<Q", out, at)
        struct.pack_into("<Q", out, at, value + distance)

    shift(_ENTRY)
    (programs,), (sections,) = (struct.unpack_from("<Q", out, at) for at in (_PROGRAM_HEADERS, _SECTION_HEADERS))
    _, program_count, _, section_count = struct.unpack_from("<4H", out, _COUNTS)
    for header in range(programs, programs + program_count * _PROGRAM_HEADER, _PROGRAM_HEADER):
        (kind,) = struct.unpack_from("<I", out, header)
        if kind == _LOADED:
            (offset,) = struct.unpack_from("<Q", out, header + 8)
            shift(header + 16)
            shift(header + 24)
            for at in range(offset, offset + len(segment.data) - 7, 8):
                # Addresses are aligned doublewords; as instructions, their upper half would be an undefined one.
                if start <= struct.unpack_from("<Q", out, at)[0] <= end:
                    shift(at)
    for header in range(sections, sections + section_count * _SECTION_HEADER, _SECTION_HEADER):
        (kind,) = struct.unpack_from("<I", out, header + 4)
        place, offset, size = struct.unpack_from("<3Q", out, header + 16)
        if start <= place <= end:
            shift(header + 16)
        for symbol in range(offset, offset + size, _SYMBOL) if kind == _SYMBOL_TABLE else ():
            (index,) = struct.unpack_from("<H", out, symbol + 6)
            if 0 < index < _ABSOLUTE and start <= struct.unpack_from("<Q", out, symbol + 8)[0] <= end:
                shift(symbol + 8)
    return bytes(out)
