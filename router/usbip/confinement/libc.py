# SPDX-License-Identifier: BSD-2-Clause
"""System calls that Python's library does not have."""

from __future__ import annotations

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long


def checked(result: int) -> int:
    """The result of a call; OSError where it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def prctl(option: int, first: int = 0, second: int = 0) -> int:
    """prctl(2); OSError if the kernel refuses."""
    words = [ctypes.c_ulong(value) for value in (first, second, 0, 0)]
    return checked(_LIBC.prctl(option, *words))


def syscall(number: int, *words: object) -> int:
    """syscall(2) with numbers, buffers or None; OSError if the kernel refuses."""
    passed = [ctypes.c_long(word) if isinstance(word, int) else word for word in words]
    result: int = _LIBC.syscall(ctypes.c_long(number), *passed)
    return checked(result)


def setrlimit(resource: int, value: int) -> None:
    """Lowers both limits of a resource (asm-generic/resource.h). The module `resource` is in no guest."""
    limits = (ctypes.c_ulong * 2)(value, value)
    checked(_LIBC.setrlimit(resource, limits))


def capset(header: ctypes.Array[ctypes.c_uint32], data: ctypes.Array[ctypes.c_uint32]) -> None:
    """capset(2); OSError if the kernel refuses."""
    checked(_LIBC.capset(header, data))
