# SPDX-License-Identifier: BSD-2-Clause
"""A guest's console in a test: what is typed, and what must come."""

from __future__ import annotations

import codecs
import re
import threading
import time
from typing import Protocol

from router.display import safe_lines

EXPECT_TIMEOUT_S = 60.0
MAX_TEXT = 1 << 20
"""Characters that are kept: a guest may print without end."""
MAX_SHOWN = 2000


class ConsoleFailure(AssertionError):
    """The console has not said what the test expects; the message shows what it said."""


class Typing(Protocol):
    """Where typed bytes go."""

    def send(self, data: bytes) -> None: ...

    def ended(self) -> bool: ...


class GuestConsole:
    """The console from the moment on at which the test opened it."""

    def __init__(self, guest: str) -> None:
        self.guest = guest
        self.typing: Typing | None = None
        self._text = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        """A character may come in two pieces."""
        self._read = 0
        self._news = threading.Condition()

    def take(self, data: bytes) -> None:
        """More that the guest has said."""
        with self._news:
            self._text += self._decoder.decode(data)
            over = len(self._text) - MAX_TEXT
            if over > 0:
                self._text, self._read = self._text[over:], max(0, self._read - over)
            self._news.notify_all()

    @property
    def text(self) -> str:
        """All that it has said."""
        with self._news:
            return self._text

    def send(self, text: str) -> None:
        """Type."""
        assert self.typing is not None, "the console is open"
        self.typing.send(text.encode())

    def expect(self, pattern: str, timeout: float = EXPECT_TIMEOUT_S) -> re.Match[str]:
        """Wait for a regular expression in what it says after the place of the last `expect`."""
        __tracebackhide__ = True
        end = time.monotonic() + timeout
        with self._news:
            while True:
                found = re.compile(pattern, re.MULTILINE).search(self._text, self._read)
                if found:
                    self._read = found.end()
                    return found
                left = end - time.monotonic()
                if left <= 0 or (self.typing is not None and self.typing.ended()):
                    said = self._text[self._read :][-MAX_SHOWN:].replace("\r", "") or "(nothing)"
                    why = "the console has ended" if left > 0 else f"not within {timeout:g} s"
                    raise ConsoleFailure(f"{self.guest}: {why}: {pattern!r}; it said:\n  {safe_lines(said, '  ')}")
                self._news.wait(min(left, 1.0))
