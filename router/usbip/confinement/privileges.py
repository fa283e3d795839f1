# SPDX-License-Identifier: BSD-2-Clause
"""User, capabilities and limits (capabilities(7), prctl(2), setrlimit(2); constants of include/uapi/linux)."""

from __future__ import annotations

import ctypes
import errno
import os

from router.usbip.confinement import libc

CAP_DAC_OVERRIDE = 1
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_MAX_CAPABILITIES = 64
_RLIMIT_CORE, _RLIMIT_NPROC = 4, 6


def forbid_new_ones() -> None:
    """No program that this process may start gets more than it has."""
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit_resources() -> None:
    """No core dumps, which would hold other people's data, and no further processes."""
    libc.setrlimit(_RLIMIT_CORE, 0)
    libc.setrlimit(_RLIMIT_NPROC, 0)


def become(user: int, group: int, capability: int) -> None:
    """Becomes that user and keeps that one capability; the bounding set is the same one."""
    for number in range(_MAX_CAPABILITIES):
        if number == capability:
            continue
        try:
            libc.prctl(_PR_CAPBSET_DROP, number)
        except OSError as error:
            # Beyond the last one that this kernel knows.
            if error.errno != errno.EINVAL:
                raise
            break
    libc.prctl(_PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    libc.prctl(_PR_SET_KEEPCAPS, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable, of 32 capabilities each.
    low, high = (1 << capability) & 0xFFFFFFFF, (1 << capability) >> 32
    libc.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0))
