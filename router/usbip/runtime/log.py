"""What the daemons report: milestones on stdout, which a guest's init forwards, and the log on stderr."""

from __future__ import annotations

import sys

from router.usbip.runtime.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


def milestone(text: str) -> None:
    """One milestone line on stdout, at once."""
    _write(sys.stdout, text)


def log(text: str) -> None:
    """One log line on stderr."""
    _write(sys.stderr, text)


def _write(stream: TextIO, text: str) -> None:
    # A reader that has gone, or a full disk behind the stream, must not end a daemon that serves others.
    try:
        stream.write(f"router-usbip: {printable(text)}\n")
        stream.flush()
    except (OSError, UnicodeEncodeError):
        return
