"""What is put in front of the boot loader: the image is whole behind it, and the code is what its comments say."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from router.errors import HostError
from router.microkit.guard import CODE, LONGEST, guarded


@pytest.mark.parametrize("length", [4, 64, 1001])
def test_the_image_is_whole_but_for_a_branch_to_what_restores_it(length: int) -> None:
    image = bytes(n * 7 % 251 for n in range(length))
    made = guarded(image)
    assert made[4:length] == image[4:]
    (branch,) = struct.unpack_from("<I", made)
    at = (branch & 0x3FFFFFF) * 4
    assert branch >> 26 == 0b000101
    assert at >= length
    assert at % 8 == 0
    back, first = struct.unpack_from("<Q4s", made, at + 4 * len(CODE))
    assert back == at
    assert first == image[:4]
    assert len(made) == at + 4 * len(CODE) + 12


def test_an_image_that_a_branch_does_not_span_is_refused() -> None:
    with pytest.raises(HostError, match="first instruction reaches"):
        guarded(bytes(LONGEST))


def test_the_code_is_what_its_comments_say(tmp_path: Path) -> None:
    if shutil.which("aarch64-linux-gnu-objdump") is None:
        pytest.skip("aarch64-linux-gnu-objdump is not installed")
    program = tmp_path / "guard.bin"
    program.write_bytes(guarded(bytes(4))[8:])
    command = ["aarch64-linux-gnu-objdump", "-D", "-b", "binary", "-m", "aarch64", str(program)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line.split("\t")[2:] for line in shown.splitlines() if line.count("\t") >= 2]
    said = [" ".join(words).split("//")[0].strip() for words in lines][: len(CODE)]
    assert said == [
        *("mrs x9, currentel", "cmp x9, #0x8", "b.ne 0x1c"),
        *("mrs x9, mdcr_el2", "orr x9, x9, #0xe00", "msr mdcr_el2, x9", "isb"),
        *("adr x10, 0x0", "ldr x9, 0x48", "sub x9, x10, x9", "ldr w11, 0x50", "str w11, [x9]"),
        *("dc cvau, x9", "dsb ish", "ic ivau, x9", "dsb ish", "isb", "br x9"),
    ]
