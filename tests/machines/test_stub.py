# SPDX-License-Identifier: BSD-2-Clause
"""The entry stub is the machine code that its comments say: judged by a disassembler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from router.machines.qemu.stub import SIZE, boot_stub

OBJDUMP = "aarch64-linux-gnu-objdump"


def test_the_stub_ends_with_its_two_addresses() -> None:
    stub = boot_stub(0x8000_0000, 0x9FE0_0000)
    assert len(stub) == SIZE
    assert stub[0x18:] == (0x9FE0_0000).to_bytes(8, "little") + (0x8000_0000).to_bytes(8, "little")


@pytest.mark.skipif(shutil.which(OBJDUMP) is None, reason=f"{OBJDUMP} is not installed")
def test_the_stub_disassembles_to_linux_entry_state(tmp_path: Path) -> None:
    blob = tmp_path / "stub"
    blob.write_bytes(boot_stub(0x8000_0000, 0x9FE0_0000)[:0x18])
    shown = subprocess.run(
        [OBJDUMP, "-D", "-b", "binary", "-m", "aarch64", blob], capture_output=True, text=True, check=True
    ).stdout
    code = [" ".join(line.split("\t")[2:]).strip() for line in shown.splitlines() if line.startswith(" ")]
    assert code == ["ldr x0, 0x18", "ldr x4, 0x20", "mov x1, xzr", "mov x2, xzr", "mov x3, xzr", "br x4"]
