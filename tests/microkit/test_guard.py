# SPDX-License-Identifier: BSD-2-Clause
"""What is put in front of the boot loader: the image is whole behind it, and the code is what its comments say."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from router.errors import HostError
from router.microkit.guard import MAX_BRANCH, TAIL, guard_code, guarded
from router.microkit.toolchain import Toolchain, find_toolchain

WORDS = (
    *(0xD5384249, 0xF100213F, 0x540000C1, 0xD53C1129, 0xB2770929, 0xB27B0529, 0xD51C1129),
    *(0xD5033FDF, 0x10FFFF0A, 0x58000169, 0xCB090149, 0x1800016B, 0xB900012B),
    *(0xD50B7B29, 0xD5033B9F, 0xD50B7529, 0xD5033B9F, 0xD5033FDF, 0xD61F0120, 0xD503201F),
)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The guard as this computer's toolchain assembles it."""
    try:
        find_toolchain()
    except HostError as error:
        pytest.skip(error.message)
    return guard_code(tmp_path_factory.mktemp("guard"))


@pytest.mark.parametrize("length", [4, 64, 1001])
def test_the_image_is_whole_but_for_a_branch_to_what_restores_it(length: int) -> None:
    code = bytes(range(72)) + bytes(TAIL.size)
    image = bytes(n * 7 % 251 for n in range(length))
    made = guarded(image, code)
    assert made[4:length] == image[4:]
    (branch,) = struct.unpack_from("<I", made)
    at = (branch & 0x3FFFFFF) * 4
    assert branch >> 26 == 0b000101
    assert at >= length
    assert at % 8 == 0
    assert made[at : at + 72] == code[:72]
    back, first = struct.unpack_from("<Q4s", made, at + 72)
    assert back == at
    assert first == image[:4]
    assert len(made) == at + len(code)


def test_an_image_that_a_branch_does_not_span_is_refused() -> None:
    with pytest.raises(HostError, match="first instruction reaches"):
        guarded(bytes(MAX_BRANCH), bytes(84))


def test_the_assembled_bytes_are_those_written_down(code: bytes) -> None:
    """The words of the instructions, written down once: another assembler makes the same ones."""
    assert struct.unpack(f"<{len(WORDS)}I", code[: -TAIL.size]) == WORDS
    assert code[-TAIL.size :] == bytes(TAIL.size)


def test_every_assembler_here_makes_the_same_bytes(
    code: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed")
    other = Toolchain((clang, "-target", "aarch64-none-elf"), (), "clang")
    monkeypatch.setattr("router.microkit.guard.find_toolchain", lambda: other)
    assert guard_code(tmp_path) == code


def test_the_code_is_what_its_comments_say(code: bytes, tmp_path: Path) -> None:
    if shutil.which("aarch64-linux-gnu-objdump") is None:
        pytest.skip("aarch64-linux-gnu-objdump is not installed")
    program = tmp_path / "guard.bin"
    program.write_bytes(guarded(bytes(4), code)[8:])
    command = ["aarch64-linux-gnu-objdump", "-D", "-b", "binary", "-m", "aarch64", str(program)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split("\t")[2:] for line in shown.splitlines() if line.count("\t") >= 2]
    said = [" ".join(words).split("//")[0].strip() for words in lines][: len(WORDS)]
    assert said == [
        *("mrs x9, currentel", "cmp x9, #0x8", "b.ne 0x20"),
        *("mrs x9, mdcr_el2", "orr x9, x9, #0xe00", "orr x9, x9, #0x60", "msr mdcr_el2, x9", "isb"),
        *("adr x10, 0x0", "ldr x9, 0x50", "sub x9, x10, x9", "ldr w11, 0x58", "str w11, [x9]"),
        *("dc cvau, x9", "dsb ish", "ic ivau, x9", "dsb ish", "isb", "br x9", "nop"),
    ]
