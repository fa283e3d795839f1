# SPDX-License-Identifier: BSD-2-Clause
"""Puts the instructions of common/guard.S, which explains them, in front of the SDK's boot loader."""

from __future__ import annotations

import struct
from pathlib import Path

from router.cbuild import PRODUCT, Step, digest, run_steps
from router.elf import section
from router.errors import HostError
from router.microkit.programs import ROOT
from router.microkit.toolchain import FLAGS, find_toolchain

SOURCE = "common/guard.S"
SECTION = ".text.guard"
TAIL = struct.Struct("<Q4s")
"""What the code ends with: its distance from the image's start in bytes, and the image's first instruction."""
BRANCH = 0x14000000
"""The instruction `b` with an offset of 0; the offset is in words (Arm DDI 0487, C6.2)."""
MAX_BRANCH = 1 << 27
"""Bytes that such a branch reaches."""


def guard_code(folder: Path) -> bytes:
    """The assembled instructions with an empty TAIL; the object lies in `folder`. HostError without a toolchain."""
    toolchain = find_toolchain()
    source = ROOT / SOURCE
    command = (*toolchain.compiler, *FLAGS, "-c", str(source), "-o", PRODUCT)
    inputs = digest([toolchain.version, *command, source.read_bytes()])
    step = Step(f"assembling {SOURCE}", folder.absolute() / "guard.o", command, inputs)
    run_steps([step], folder / "compiler.log")
    return section(step.product.read_bytes(), SECTION)


def guarded(image: bytes, code: bytes) -> bytes:
    """A loader image that begins with a branch to `code` behind it, which undoes that and goes on as before.

    code: of `guard_code`. HostError for an image that a branch does not span.
    """
    at = -(-len(image) // 8) * 8
    if at >= MAX_BRANCH:
        raise HostError(
            f"the loader image has {at / 1e6:.0f} MB; its first instruction reaches {MAX_BRANCH / 1e6:.0f} MB"
        )
    branch = struct.pack("<I", BRANCH | at >> 2)
    return branch + image[4:].ljust(at - 4, b"\0") + code[: -TAIL.size] + TAIL.pack(at, image[:4])
