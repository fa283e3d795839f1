# SPDX-License-Identifier: BSD-2-Clause
"""How messages and reports say sizes and lists, and how they guess what a mistyped word meant.

Standard library only, and no other module of the package: every room may use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

UNITS = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
"""Bytes of each unit that a description may use, the largest unit first."""


def size_text(size: int) -> str:
    """A number of bytes in the largest unit that divides it.

    >>> size_text(1536 << 20), size_text(2048), size_text(0)
    ('1536 MiB', '2 KiB', '0 B')
    """
    unit = next(unit for unit, factor in UNITS.items() if size >= factor and size % factor == 0) if size else "B"
    return f"{size // UNITS[unit]} {unit}"


def rounded_size(size: int) -> str:
    """A number of bytes for comparison: exact below 1 MiB or in whole MiB, else rounded to a tenth of a MiB.

    >>> rounded_size(155904 << 10)
    '152.2 MiB'
    """
    return size_text(size) if size % (1 << 20) == 0 or size < 1 << 20 else f"{size / (1 << 20):.1f} MiB"


AGES = {"days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}


def age_text(seconds: float) -> str:
    """How long ago, in the largest unit of which there are two or more.

    >>> age_text(7300), age_text(90), age_text(-3)
    ('2 hours', '90 seconds', '0 seconds')
    """
    whole = max(0, int(seconds))
    unit = next((unit for unit, size in AGES.items() if whole >= 2 * size), "seconds")
    return f"{whole // AGES[unit]} {unit}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to a mistyped one, ignoring case and the difference of `_` and `-`; None if none is close.

    >>> nearest("USB_Cleint", ["usb-client", "usb-server"])
    'usb-client'
    """
    folded = {name.lower().replace("_", "-"): name for name in reversed(list(known))}
    match = get_close_matches(word.lower().replace("_", "-"), folded, n=1, cutoff=0.6)
    return folded[match[0]] if match else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The hint `did you mean 'server'?` if a known word is close, else None."""
    match = nearest(word, known)
    return f"did you mean '{match}'?" if match else None


def listing(words: Iterable[str], last: str = "or") -> str:
    """`a, b or c`; `nothing` for an empty list."""
    *head, tail = list(words) or ["nothing"]
    return f"{', '.join(head)} {last} {tail}" if head else tail


def quoted(words: Iterable[str]) -> str:
    """`'a', 'b' and 'c'`; empty for an empty list."""
    named = [f"'{word}'" for word in words]
    return listing(named, "and") if named else ""
