# SPDX-License-Identifier: BSD-2-Clause
"""Text that another machine, a device or a file supplied, made safe to show. Imports nothing.

A terminal obeys control characters, and bidirectional controls reorder what a reader sees (CVE-2021-42574). Whatever
comes from outside goes through `printable` on its way to a terminal or a log.
"""

from __future__ import annotations


def printable(text: str) -> str:
    """The text in one line without anything that a terminal obeys or that hides.

    Control characters (C0, C1, DEL), line breaks, bidirectional and other invisible format controls, private and
    unassigned characters, and surrogates appear as an escape: \\xNN, \\uNNNN or \\UNNNNNNNN. A byte that could not be
    decoded (PEP 383, "surrogateescape") appears as \\xNN. Everything else stays, a backslash too.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(ord(character)) for character in text)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def error_text(error: BaseException) -> str:
    """One line that says what an exception means: the system's words for an OSError, else the type and its message."""
    strerror = getattr(error, "strerror", None)
    if strerror:
        return printable(str(strerror))
    message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
    return printable(str(message))
