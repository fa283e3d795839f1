# SPDX-License-Identifier: BSD-2-Clause
"""The cross compiler on this computer: gcc for AArch64, or clang with lld."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

from router.errors import HostError
from router.hardening import ZERO_AUTOS, accepted

GCC = ("aarch64-linux-gnu", "aarch64-none-elf", "aarch64-none-linux-gnu", "aarch64-unknown-linux-gnu")
"""Prefixes that distributions and Arm give their builds of gcc."""
FLAGS = (
    *("-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-ffreestanding"),
    # Protection domains share the FPU with the guests by the kernel's lazy switching: they leave it alone.
    *("-mcpu=cortex-a53", "-mgeneral-regs-only", "-mstrict-align", "-mno-outline-atomics"),
    *("-fno-pic", "-fstack-protector-strong", "-ffunction-sections", "-fdata-sections"),
)
HARDENING = (ZERO_AUTOS,)
"""Options for compilers that know them."""
LINK = ("--gc-sections", "-z", "noexecstack", "--build-id=none")


@dataclass(frozen=True)
class Toolchain:
    """A compiler and a linker, as the first words of their commands."""

    compiler: tuple[str, ...]
    linker: tuple[str, ...]
    version: str
    """The first line of the compiler's `--version`."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Options for every source of a protection domain."""
        return (*FLAGS, *accepted(self.compiler, HARDENING))

    @property
    def name(self) -> str:
        """The compiler's program, for messages."""
        return self.compiler[0].rsplit("/", 1)[-1]


def version_of(program: str) -> str:
    """The first line of a program's `--version`; HostError when it does not start."""
    run = subprocess.run([program, "--version"], capture_output=True, text=True, errors="replace", check=False)
    if run.returncode or not run.stdout:
        raise HostError(f"{program} --version failed: {run.stderr.strip()[-200:]}", hint="reinstall it")
    return run.stdout.splitlines()[0]


def find_toolchain() -> Toolchain:
    """The first of gcc's cross compilers on PATH with its linker, else clang with ld.lld; HostError without any."""
    for prefix in GCC:
        compiler, linker = shutil.which(f"{prefix}-gcc"), shutil.which(f"{prefix}-ld")
        if compiler and linker:
            return Toolchain((compiler,), (linker,), version_of(compiler))
    clang, lld = shutil.which("clang"), shutil.which("ld.lld")
    if clang and lld:
        return Toolchain((clang, "-target", "aarch64-none-elf"), (lld,), version_of(clang))
    raise HostError(
        "there is no compiler for AArch64 to build the protection domains with",
        hint="apt-get install gcc-aarch64-linux-gnu, or clang and lld",
    )
