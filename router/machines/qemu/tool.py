# SPDX-License-Identifier: BSD-2-Clause
"""The QEMU program on this computer."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache

from router import requirements
from router.errors import HostError

PROGRAM = "qemu-system-aarch64"
VARIABLE = "ROUTER_QEMU"
"""Names the program to use instead of the one on PATH."""


@dataclass(frozen=True)
class Qemu:
    """An installed QEMU."""

    path: str
    version: tuple[int, int, int]


def find_qemu() -> Qemu:
    """The one that ROUTER_QEMU names, or the first on PATH; HostError when there is none or when it does not start."""
    named = os.environ.get(VARIABLE, "")
    path = shutil.which(named or PROGRAM)
    if path is None and named:
        raise HostError(
            f"{VARIABLE} names {named}, and no such program is there", hint=f"unset it, or name a {PROGRAM}"
        )
    if path is None:
        raise requirements.missing(PROGRAM)
    return read_version(path)


@cache
def read_version(path: str) -> Qemu:
    """The QEMU at that path, asked for its version once."""
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=120, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{path} --version does not run: {error}", hint="reinstall it") from None
    match = re.search(r"version (\d+)\.(\d+)\.(\d+)", shown.stdout)
    if shown.returncode or match is None:
        raise HostError(f"{path} --version failed: {shown.stderr.strip() or shown.stdout.strip()}", hint="reinstall it")
    return Qemu(path, (int(match[1]), int(match[2]), int(match[3])))


SANDBOX = ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
"""A guest that takes QEMU over can start no program and gain no privileges (QEMU's seccomp filter)."""


@cache
def sandbox(path: str) -> tuple[str, ...]:
    """QEMU's words for the filter, or () where this QEMU or this kernel has none, which the caller says."""
    bare = ("-nodefaults", "-no-user-config", "-display", "none", "-machine", "none", "-monitor", "stdio")
    try:
        run = subprocess.run([path, *SANDBOX, *bare], input=b"quit\n", capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return SANDBOX if run.returncode == 0 else ()
