# SPDX-License-Identifier: BSD-2-Clause
"""What the daemons report: milestones on stdout, which a guest's init forwards, and the log on stderr."""

from __future__ import annotations

import sys
import time

from router.usbip.runtime.text import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


# A peer can have a line written as often as it likes, and each one costs the daemon's time and a slow console's.
MAX_BURST = 100
LINES_PER_SECOND = 5.0


class _Budget:
    """How many log lines may be written now, and how many were left out."""

    def __init__(self) -> None:
        self.lines = float(MAX_BURST)
        self.left_out = 0
        self._then = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self.lines = min(MAX_BURST, self.lines + (now - self._then) * LINES_PER_SECOND)
        self._then = now
        if self.lines < 1:
            self.left_out += 1
            return False
        self.lines -= 1
        return True


budget = _Budget()


def milestone(text: str) -> None:
    """One milestone line on stdout, at once."""
    _write(sys.stdout, text)


def log(text: str) -> None:
    """One log line on stderr. In a flood most are left out, and counted in the next one."""
    if budget.take():
        more, budget.left_out = budget.left_out, 0
        _write(sys.stderr, f"{text} ({more} lines before this one are left out)" if more else text)


def _write(stream: TextIO, text: str) -> None:
    # A reader that has gone, or a full disk behind the stream, must not end a daemon that serves others.
    try:
        stream.write(f"router-usbip: {printable(text)}\n")
        stream.flush()
    except (OSError, UnicodeEncodeError):
        return
