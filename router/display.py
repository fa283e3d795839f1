# SPDX-License-Identifier: BSD-2-Clause
"""Text from elsewhere, made safe to show: a guest, a device, a peer, a board or a file never controls the terminal.

`safe` is the only judge of what is text. Everything but printable characters (Unicode categories C and Z, except for
the space) is shown as an escape: ESC becomes `\\x1b`, a right-to-left override `\\u202e` (CVE-2021-42574), a byte that
is not UTF-8 `\\xff`. `Shielded` puts the same rule between the program and its standard
streams, so that a print that forgets `safe` does no harm; only `styled` and `live` here, and the raw consoles of
router.console.terminal, get past it. Standard library only: error messages are rendered in guests as well.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Only for the checker: a guest's daemon starts without these.
    from typing import Any, TextIO

ERASE_LINE = "\r\x1b[K"


def escape(character: str) -> str:
    """`\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`; a byte that could not be decoded (PEP 383) appears as `\\xNN` too."""
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def safe(text: str, keep: str = "") -> str:
    """The text as one field of one line: printable characters, and those of `keep`; all others are escaped.

    >>> safe("disk\\x1b[2J\\n1-1  trusted")
    'disk\\\\x1b[2J\\\\x0a1-1  trusted'
    """
    if text.isprintable():
        return text
    return "".join(char if char in keep or char.isprintable() else escape(char) for char in text)


def safe_lines(text: str, indent: str = "") -> str:
    """The same for several lines of our own composition; lines after the first begin with at least `indent`."""
    first, *more = text.split("\n")
    shown = [line if line.startswith(indent) else indent + line for line in more]
    return "\n".join(safe(line) for line in [first, *shown])


def last_line(text: str, limit: int = 200) -> str:
    """The last line with something in it, for an error message: at most `limit` characters; "" when there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return safe(lines[-1][:limit]) if lines else ""


class Shield:
    """A text stream that shows text and never controls the terminal; everything else is the stream's."""

    def __init__(self, stream: TextIO) -> None:
        self.behind = stream

    def write(self, text: str) -> int:
        """Write the text, made safe; line ends and tabs are kept."""
        # DEL is the one control character that json.dumps leaves as it is: so escaped, JSON stays JSON.
        self.behind.write(safe(text.replace("\x7f", "\\u007f"), keep="\n\t"))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


class Shielded:
    """Standard output and error show text only while this context lasts."""

    def __enter__(self) -> None:
        self._before = sys.stdout, sys.stderr
        for stream in self._before:
            # What the terminal's encoding lacks is escaped too, instead of ending the program.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        sys.stdout, sys.stderr = Shield(sys.stdout), Shield(sys.stderr)

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self._before


def has_colours(stream: TextIO) -> bool:
    """Whether the stream is a terminal that wants colours (NO_COLOR, no-color.org; TERM=dumb)."""
    isatty = getattr(stream, "isatty", None)
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return isatty is not None and bool(isatty()) and not plain


def styled(*parts: str | tuple[str, str], stream: TextIO | None = None) -> None:
    """Print one line. A part is text, or text with its SGR code, which shows where the stream has colours."""
    out = stream or sys.stdout
    colours = has_colours(out)
    shown = [
        safe(part) if isinstance(part, str) else f"\x1b[{part[1]}m{safe(part[0])}\x1b[0m" if colours else safe(part[0])
        for part in parts
    ]
    _raw(out, "".join(shown) + "\n")


def is_live() -> bool:
    """Whether standard error is a terminal on which a line can be rewritten."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def live(text: str) -> None:
    """Rewrite the current line of the terminal on standard error; an empty text clears it."""
    _raw(sys.stderr, ERASE_LINE + safe(text))


def _raw(stream: TextIO, text: str) -> None:
    """Past the shield, in one piece: other threads write too."""
    out = stream.behind if isinstance(stream, Shield) else stream
    out.write(text)
    out.flush()
