# SPDX-License-Identifier: BSD-2-Clause
"""Compiles the C programs of these tests, and finds the cases in their sources."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from router.cbuild import PRODUCT, Step, contents, digest, headers, run_steps
from tests.support.skips import need

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).parent / "c"
FOLDERS = [ROOT / name for name in ("common", "vmm", "drivers", "vswitch/core", "vswitch/pd")]
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
CORES = [
    *(ROOT / "vmm" / f"{name}.c" for name in ("gic", "gic_dist", "gic_redist", "virtqueue", "virtio_mmio")),
    *(ROOT / "vmm" / f"{name}.c" for name in ("virtio_net", "virtio_net_rx", "segment", "virtio_console")),
    *(ROOT / "vmm" / f"{name}.c" for name in ("virtio_vsock", "virtio_vsock_rx")),
    *(ROOT / "vmm" / f"{name}.c" for name in ("psci", "mmio", "guest_image", "pl011_early")),
    *(ROOT / "vmm" / f"{name}.c" for name in ("backoff", "burst", "pci")),
    *(ROOT / "common" / f"{name}.c" for name in ("netq", "account")),
    *(ROOT / "drivers" / f"{name}.c" for name in ("mux", "mux_counts", "mux_input", "mux_frame", "deadlines", "watch")),
    *(ROOT / "vswitch" / "core" / f"{name}.c" for name in ("vswitch", "init", "vsock", "vsock_init")),
    *(ROOT / "vswitch" / "pd" / f"{name}.c" for name in ("forward", "packets", "publish")),
]
CASE = re.compile(r"^CASE\((\w+)\)", re.MULTILINE)


def run_compiler(compiler: str, *arguments: str) -> None:
    """Fails the test with the compiler's words."""
    includes = [f"-I{folder}" for folder in (*FOLDERS, PROGRAMS)]
    run = subprocess.run([need(compiler), *includes, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def compile_cores(folder: Path, *flags: str, compiler: str = "cc") -> list[Path]:
    """The cores' object files. HostError with the compiler's first error; all it says is in `folder`/compiler.log."""
    command = (need(compiler), *(f"-I{each}" for each in (*FOLDERS, PROGRAMS)), *WARNINGS, *flags)
    included = contents(headers(FOLDERS))
    steps = [
        Step(
            f"compiling {source.name}",
            folder / f"{source.stem}.o",
            (*command, "-c", str(source), "-o", PRODUCT),
            digest([*command, *contents([source]), *included]),
        )
        for source in CORES
    ]
    run_steps(steps, folder / "compiler.log", ROOT)
    return [step.product for step in steps]


def link_program(program: Path, source: str, objects: list[Path], *flags: str, compiler: str = "cc") -> Path:
    """One of our programs with the cores."""
    run_compiler(compiler, *WARNINGS, *flags, str(PROGRAMS / source), *map(str, objects), "-o", str(program))
    return program


def cases() -> list[tuple[str, str]]:
    """Every case of every program: the program's source and the case's name."""
    return [
        (source.name, name)
        for source in sorted(PROGRAMS.glob("*_cases.c"))
        for name in CASE.findall(source.read_text())
    ]
