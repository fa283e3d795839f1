# SPDX-License-Identifier: BSD-2-Clause
"""Mounts and swap of this machine, as the kernel lists them in /proc (proc(5))."""

from __future__ import annotations

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
    """What /proc/self/mountinfo lists."""
    found = []
    for line in text.splitlines():
        words = line.split()
        try:
            dash = words.index("-", 6)
            found.append(Mount(words[2], unescaped(words[4]), unescaped(words[dash + 2])))
        except (ValueError, IndexError):
            continue
    return found


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
