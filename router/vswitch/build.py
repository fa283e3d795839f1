# SPDX-License-Identifier: BSD-2-Clause
"""Compiles the host's C programs of the switch with the machine's own compiler, when their content has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from router import resources
from router.cbuild import host_step, run_steps
from router.errors import HostError
from router.hardening import ZERO_AUTOS

SOURCES = resources.root() / "vswitch"
RINGS = resources.root() / "vmm"
COMMON = resources.root() / "common"
RING_FLAGS = (f"-I{RINGS}", f"-I{COMMON}", "-DVIRTQ_MAX_SIZE=1024u")
"""The host process takes guests' rings with the VMM's own code; QEMU's rings have up to 1024 entries."""
FLAGS = (
    *("-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Wconversion", "-Wshadow"),
    *("-fPIE", "-pie", "-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"),
    *("-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"),
)
HARDENING = (ZERO_AUTOS, "-fstack-clash-protection")
"""Options for compilers that know them."""


def switch_sources(folders: Sequence[str]) -> list[Path]:
    """The C files and headers in these folders of `vswitch/`; HostError when the package is installed without them."""
    found = [path for folder in folders for path in sorted((SOURCES / folder).glob("*.[ch]"))]
    if not found:
        raise HostError(
            f"the switch's sources are not at {SOURCES}", hint="install from a checkout: pip install --editable ."
        )
    return found


def build_host_switch(build_dir: Path) -> Path:
    """The host process as `build_dir`/vswitch, compiled unless it is there from the same sources; or a HostError."""
    return build_program(build_dir / "vswitch", ("core", "host"), ring_sources(), RING_FLAGS)


def ring_sources() -> list[Path]:
    """The VMM's virtqueue code with its headers."""
    return [RINGS / "virtqueue.c", RINGS / "virtqueue.h", RINGS / "mem.h", COMMON / "freestanding.h"]


def build_program(program: Path, folders: Sequence[str], more: Sequence[Path] = (), flags: Sequence[str] = ()) -> Path:
    """Compile and link all C files of these folders of `vswitch/` into `program`, if any has changed; returns it.

    more: other sources and headers, with the `flags` for them.
    """
    sources = [*switch_sources(folders), *more]
    run_steps([host_step("the switch", program, (*FLAGS, *flags), sources, HARDENING)])
    return program
