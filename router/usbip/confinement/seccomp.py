# SPDX-License-Identifier: BSD-2-Clause
"""Which system calls a process may make from now on (seccomp(2), Documentation/userspace-api/seccomp_filter.rst).

Others fail with EPERM, which Python reports as it does any other error: a call that a newer library prefers has its
older form as fallback, and a daemon with a fault goes on serving.
"""

from __future__ import annotations

import ctypes
import os
import struct

from router.usbip.confinement import libc

# Numbers by name: (AArch64, include/uapi/asm-generic/unistd.h; x86-64, arch/x86/entry/syscalls/syscall_64.tbl), -1
# where the architecture has no such call.
_CALLS = {
    # Files
    "openat": (56, 257),
    "open": (-1, 2),
    "close": (57, 3),
    "read": (63, 0),
    "write": (64, 1),
    "pread64": (67, 17),
    "pwrite64": (68, 18),
    "fsync": (82, 74),
    "lseek": (62, 8),
    "fstat": (80, 5),
    "newfstatat": (79, 262),
    "stat": (-1, 4),
    "lstat": (-1, 6),
    "statx": (291, 332),
    "faccessat": (48, 269),
    "faccessat2": (439, 439),
    "access": (-1, 21),
    "readlinkat": (78, 267),
    "readlink": (-1, 89),
    "getdents64": (61, 217),
    "getcwd": (17, 79),
    "unlinkat": (35, 263),
    "unlink": (-1, 87),
    "renameat": (38, 264),
    "renameat2": (276, 316),
    "rename": (-1, 82),
    "ioctl": (29, 16),
    "fcntl": (25, 72),
    "dup": (23, 32),
    # Memory
    "brk": (214, 12),
    "mmap": (222, 9),
    "mprotect": (226, 10),
    "munmap": (215, 11),
    "mremap": (216, 25),
    "madvise": (233, 28),
    # Waiting, time, signals
    "epoll_ctl": (21, 233),
    "epoll_pwait": (22, 281),
    "epoll_wait": (-1, 232),
    "ppoll": (73, 271),
    "poll": (-1, 7),
    "futex": (98, 202),
    "clock_gettime": (113, 228),
    "clock_nanosleep": (115, 230),
    "rt_sigaction": (134, 13),
    "rt_sigprocmask": (135, 14),
    "rt_sigreturn": (139, 15),
    "restart_syscall": (128, 219),
    # Sockets that are there
    "accept4": (242, 288),
    "getsockname": (204, 51),
    "getpeername": (205, 52),
    "setsockopt": (208, 54),
    "getsockopt": (209, 55),
    "sendto": (206, 44),
    "recvfrom": (207, 45),
    "sendmsg": (211, 46),
    "recvmsg": (212, 47),
    "shutdown": (210, 48),
    # The process itself
    "getpid": (172, 39),
    "getuid": (174, 102),
    "geteuid": (175, 107),
    "getrandom": (278, 318),
    "sigaltstack": (132, 131),
    "exit_group": (94, 231),
    # Sockets to others
    "socket": (198, 41),
    "socketpair": (199, 53),
    "connect": (203, 42),
    "sendmmsg": (269, 307),
    # Folders and links
    "mkdirat": (34, 258),
    "mkdir": (-1, 83),
    "rmdir": (-1, 84),
    "symlinkat": (36, 266),
    "symlink": (-1, 88),
}
CONNECT = ("socket", "socketpair", "connect", "sendmmsg")
"""For daemons that call others."""
FOLDERS = ("mkdirat", "mkdir", "rmdir", "symlinkat", "symlink")
"""For daemons that make folders and symbolic links."""
# The place in _CALLS and AUDIT_ARCH_* (include/uapi/linux/audit.h), by uname's name of the machine.
_MACHINES = {"aarch64": (0, 0xC00000B7), "x86_64": (1, 0xC000003E)}
_MAKE_MEMORY = ("mmap", "mprotect")

# Instructions (include/uapi/linux/bpf_common.h), and where `struct seccomp_data` holds what is looked at.
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _THIRD_ARGUMENT_AT = 0, 4, 32
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050001
_PROT_EXEC = 4
_PR_GET_SECCOMP, _PR_SET_SECCOMP, _MODE_FILTER = 21, 22, 2


def program(machine: str, more: tuple[str, ...]) -> bytes:
    """The filter for a machine of `_MACHINES`: the calls that all need and `more`, and no new executable memory."""
    column, architecture = _MACHINES[machine]
    numbers = sorted(
        _CALLS[name][column]
        for name in (_CALLS.keys() - set(CONNECT) - set(FOLDERS) - set(_MAKE_MEMORY)) | set(more)
        if _CALLS[name][column] >= 0
    )
    memory = [_CALLS[name][column] for name in _MAKE_MEMORY]
    # A call of the x86 kernel's x32 form has a number that equals none of these.
    lines = [(_LOAD, 0, 0, _ARCHITECTURE_AT), (_JUMP_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL)]
    lines.append((_LOAD, 0, 0, _NUMBER_AT))
    for number in numbers:
        lines += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    lines += [(_JUMP_EQUAL, 2, 0, memory[0]), (_JUMP_EQUAL, 1, 0, memory[1]), (_RETURN, 0, 0, _REFUSE)]
    lines += [(_LOAD, 0, 0, _THIRD_ARGUMENT_AT), (_JUMP_SET, 0, 1, _PROT_EXEC)]
    lines += [(_RETURN, 0, 0, _REFUSE), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def install(more: tuple[str, ...]) -> bool:
    """Confines this process and all that it starts; False for a machine without a table, or a kernel without filters.

    The process must have given up new privileges. OSError if the kernel refuses the filter.
    """
    machine = os.uname().machine
    if machine not in _MACHINES:
        return False
    try:
        libc.prctl(_PR_GET_SECCOMP)
    except OSError:
        return False
    text = program(machine, more)
    # struct sock_fprog: the number of instructions, and where they are.
    instructions = ctypes.create_string_buffer(text, len(text))
    whole = struct.pack("@HP", len(text) // 8, ctypes.addressof(instructions))
    holder = ctypes.create_string_buffer(whole, len(whole))
    libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(holder))
    return True
