# SPDX-License-Identifier: BSD-2-Clause
"""Compiler options that harden a program, where the compiler knows them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache

ZERO_AUTOS = "-ftrivial-auto-var-init=zero"
"""Automatic variables start as zeros, so that nothing left on the stack leaks or is used (gcc 12, clang 16)."""


def accepted(compiler: Sequence[str], options: Sequence[str]) -> tuple[str, ...]:
    """Those of the options that the compiler takes without an error or a warning."""
    return tuple(option for option in options if accepts(tuple(compiler), option))


@cache
def accepts(compiler: tuple[str, ...], option: str) -> bool:
    """Whether the compiler takes an option; it compiles an empty file to find out. False when it does not start."""
    command = [*compiler, "-Werror", option, "-x", "c", "-c", "-", "-o", "/dev/null"]
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0
