# SPDX-License-Identifier: BSD-2-Clause
"""Compiles the C programs of these tests, once a run each, with the sanitizers on."""

from __future__ import annotations

import subprocess
from pathlib import Path

from router.vswitch.build import RING_FLAGS
from tests.support.skips import need

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "vswitch" / "core"
HOST = ROOT / "vswitch" / "host"
RINGS = ROOT / "vmm"
PROGRAMS = Path(__file__).parent / "c"
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
CORE_UNITS = sorted(CORE.glob("*.c"))
HOST_UNITS = [*sorted(HOST.glob("*.c")), *CORE_UNITS, RINGS / "virtqueue.c"]
"""The host process."""


def compile_c(program: Path, units: list[Path], *flags: str, compiler: str = "cc") -> Path:
    """Compile and link; fails the test with the compiler's words."""
    command = [
        need(compiler),
        *WARNINGS,
        "-D_GNU_SOURCE",
        f"-I{CORE}",
        *RING_FLAGS,
        *flags,
        *map(str, units),
        "-o",
        str(program),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return program
