# SPDX-License-Identifier: BSD-2-Clause
"""Which files a process may open from now on (landlock(7); constants of include/uapi/linux/landlock.h)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

from router.usbip.confinement import libc

# The same numbers on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1
_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
# The rights of the first version are bits 0 to 12; later versions add one each: REFER, TRUNCATE, (network), IOCTL_DEV.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_READ = _READ_FILE | _READ_DIR
_OF_FILES = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
_CHANGE = _OF_FILES | _READ_DIR | _REMOVE_FILE | _MAKE_REG
_MAKE = _CHANGE | _REMOVE_DIR | _MAKE_DIR | _MAKE_SYM


def prepare(read: Iterable[str], write: Iterable[str], make: Iterable[str] = ()) -> int | None:
    """A ruleset that allows to read below `read`, to change files below `write`, and folders and symbolic links
    too below `make`; what is not there is left out.

    None where the kernel has no Landlock. The descriptor is to be given to `enforce`.
    """
    try:
        version = libc.syscall(_CREATE_RULESET, None, 0, _GET_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return None
        raise
    handled = _RIGHTS[min(version, max(_RIGHTS))]
    attributes = struct.pack("=Q", handled)
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.c_char_p(attributes), len(attributes), 0)
    for paths, rights in ((read, _READ), (write, _CHANGE), (make, _MAKE)):
        for path in paths:
            _allow(ruleset, path, rights & handled)
    return ruleset


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(fd)


def enforce(ruleset: int) -> None:
    """Confines this process and all that it starts; closes the descriptor."""
    libc.syscall(_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
