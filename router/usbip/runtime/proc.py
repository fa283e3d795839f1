# SPDX-License-Identifier: BSD-2-Clause
"""Mounts and swap of this machine, as the kernel lists them in /proc (proc(5))."""

from __future__ import annotations

import os

PROC = "/proc"
MAX_PLACE = 256
# The characters that the kernel writes in octal (fs/seq_file.c, mangle_path).
_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\043", "#"), ("\\134", "\\"))


def unescaped(text: str) -> str:
    """A path as it is called; a very long one is cut."""
    for escape, letter in _ESCAPES:
        text = text.replace(escape, letter)
    return text[:MAX_PLACE]


class Mount:
    """A mounted file system. numbers: "8:1" of its device; source: what was mounted; place: where."""

    __slots__ = ("numbers", "place", "source")

    def __init__(self, numbers: str, place: str, source: str) -> None:
        self.numbers = numbers
        self.place = place
        self.source = source

    def is_of(self, name: str, numbers: str) -> bool:
        """Whether it is of that block device. btrfs has device numbers of its own, so the source counts as well."""
        return self.numbers == numbers or self.source == f"/dev/{name}"


def mounts(text: str) -> list[Mount]:
    """What a mountinfo file of /proc lists."""
    found = []
    for line in text.splitlines():
        words = line.split()
        try:
            dash = words.index("-", 6)
            found.append(Mount(words[2], unescaped(words[4]), unescaped(words[dash + 2])))
        except (ValueError, IndexError):
            continue
    return found


class InitsMounts:
    """The mounts as init sees them: a process in a chroot sees only those below its own root in its own list.

    The file is opened at once, and may be read for as long as this lives, also by a process that has confined itself
    since: the kernel decides at opening who may read, and whose view it is (fs/proc_namespace.c, mounts_open_common).
    """

    def __init__(self) -> None:
        self._fd = -1
        for process in ("1", "self"):
            try:
                self._fd = os.open(f"{PROC}/{process}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
                return
            except OSError:
                continue

    def read(self) -> str:
        """What is mounted now, as in /proc/1/mountinfo; empty where this kernel does not have it. May raise OSError."""
        text = bytearray()
        while self._fd >= 0 and (part := os.pread(self._fd, 1 << 16, len(text))):
            text += part
        return text.decode("utf-8", "replace")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def swaps(text: str) -> set[str]:
    """The devices and files that /proc/swaps lists."""
    return {unescaped(line.split()[0]) for line in text.splitlines()[1:] if line.strip()}


def read(name: str) -> str:
    """A file of /proc; empty where this kernel does not have it."""
    try:
        with open(f"{PROC}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
