# SPDX-License-Identifier: BSD-2-Clause
"""A boot loader is moved as if it had been linked to the other address; the SDK itself stays as it is."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from router.elf import segments
from router.errors import HostError
from router.microkit.placed import LOADER, link_address, moved_loader, placed_sdk
from router.microkit.sdk import Sdk
from tests.sel4.needs import need_sdk
from tests.support.systems import plan_of, shipped

START, MEMORY = 0x4100_0000, 0x2000
CELLS = (0xD503_201F_D65F_03C0, START, START + MEMORY, START + MEMORY + 1, START - 1, 7, START + 0x30, 0)
CODE = struct.pack("<8Q", *CELLS)


def program(code: bytes = CODE, start: int = START, count: int = 1) -> bytes:
    """A small ELF64 program of so many equal segments. Symbols: one in it, an absolute and an undefined one."""
    headers, offset = 64 + 56 * count, 0x400
    symbols = b"".join(
        struct.pack("<IBBHQQ", 0, 0, 0, section, value, 0)
        for section, value in ((0, 0), (1, start + 8), (0xFFF1, start + 8), (0, start + 8))
    )
    sections = struct.pack("<2I6Q", 0, 0, 0, 0, 0, 0, 0, 0)[:40].ljust(64, b"\0")
    sections += struct.pack("<2I4Q2I2Q", 0, 1, 2, start, offset, len(code), 0, 0, 8, 0)
    sections += struct.pack("<2I4Q2I2Q", 0, 2, 0, 0, 0x800, len(symbols), 0, 0, 8, 24)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = ident + struct.pack("<2HI3QI6H", 2, 183, 1, start, 64, 0x900, 0, 64, 56, count, 64, 3, 0)
    one = struct.pack("<2I6Q", 1, 7, offset, start, start, len(code), MEMORY, 0x1000)
    out = (header + one * count).ljust(offset, b"\0") + code
    assert headers <= offset
    return (out.ljust(0x800, b"\0") + symbols).ljust(0x900, b"\0") + sections


def symbol_values(data: bytes) -> list[int]:
    return [struct.unpack_from("<Q", data, 0x800 + 24 * n + 8)[0] for n in range(4)]


def test_only_addresses_of_the_loader_itself_are_shifted() -> None:
    moved = moved_loader(program(), 0x5000_0000)
    distance = 0x5000_0000 - START
    (segment,) = segments(moved)
    assert (segment.address, segment.memory_size, link_address(moved)) == (0x5000_0000, MEMORY, 0x5000_0000)
    assert struct.unpack("<8Q", segment.data) == (
        *(0xD503_201F_D65F_03C0, START + distance, START + MEMORY + distance, START + MEMORY + 1, START - 1, 7),
        *(START + 0x30 + distance, 0),
    )
    assert symbol_values(moved) == [0, START + 8 + distance, START + 8, START + 8]
    assert struct.unpack_from("<Q", moved, 24) == (0x5000_0000,)
    assert moved_loader(moved, START) == program()


def test_a_loader_that_cannot_be_moved_is_refused() -> None:
    with pytest.raises(HostError, match="not whole pages"):
        moved_loader(program(), 0x5000_0800)
    with pytest.raises(HostError, match=r"loader.elf has 2 segments"):
        link_address(program(count=2))


def folder_of(sdk: Path, board: str, config: str) -> Path:
    elf = sdk / "board" / board / config / "elf"
    elf.mkdir(parents=True)
    (elf / LOADER).write_bytes(program())
    (elf / "sel4.elf").write_bytes(b"kernel")
    (elf.parent / "lib").mkdir()
    (sdk / "VERSION").write_text("2.3.0")
    return elf


def test_the_tool_sees_a_moved_loader_and_everything_else_of_the_sdk(tmp_path: Path) -> None:
    plan = plan_of(shipped("maaxboard"))
    elf = folder_of(tmp_path, plan.board.microkit, plan.config)
    sdk = Sdk(tmp_path, "2.3.0", {plan.board.microkit: (plan.config,)})
    with placed_sdk(plan, sdk) as place:
        seen = place / elf.relative_to(tmp_path)
        assert link_address((seen / LOADER).read_bytes()) == plan.board.loader
        assert (seen / "sel4.elf").read_bytes() == b"kernel"
        assert (seen.parent / "lib").is_dir() and (place / "VERSION").read_text() == "2.3.0"
    assert not place.exists()
    assert (elf / LOADER).read_bytes() == program()
    with placed_sdk(plan.but(board=replace(plan.board, loader=START)), sdk) as place:
        assert place == tmp_path


@pytest.mark.sel4
@pytest.mark.parametrize("config", ["debug", "release", "benchmark", "smp-release"])
@pytest.mark.parametrize("version", ["2.0.1", "2.3.0"])
def test_a_moved_loader_is_the_one_that_the_sdk_links_to_that_address(version: str, config: str) -> None:
    """The Quad's EVK and the MaaXBoard have the same SoC and console, and loaders at two addresses."""
    from elftools.elf.elffile import ELFFile

    from router.microkit.sdk import require_sdk

    for board in ("imx8mq_evk", "maaxboard"):
        need_sdk(version, board, config)

    def loader(board: str) -> bytes:
        return (require_sdk(version, board, config).board_dir(board, config) / "elf" / LOADER).read_bytes()

    def named(data: bytes) -> dict[str, int]:
        table: Any = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
        return {each.name: each["st_value"] for each in table.iter_symbols() if each.name and each.name[0] not in "$."}

    there = loader("maaxboard")
    moved = moved_loader(loader("imx8mq_evk"), link_address(there))
    assert segments(moved) == segments(there)
    assert named(moved) == named(there)
