# SPDX-License-Identifier: BSD-2-Clause
"""Guests' consoles as streams: every byte goes to a log file, every line to those who look for milestones."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from router import files

TAIL_LINES = 20
"""Lines kept of each console for error reports."""
MAX_LINE_BYTES = 4096
"""Of one line; the rest up to its end is in the log only."""
READ_BYTES = 1 << 16
"""Of a console, taken at a time."""
MAX_LINES = READ_BYTES // 2
"""Lines of one console that wait to be looked at; what comes beyond is in the log only. Those of one read find room,
however short they are: they come faster than any thread can look at them.
"""
MAX_CHARACTERS = 1 << 20
"""The same in characters."""


class Lines:
    """The lines that wait to be looked at. Each console has room of its own and gets its turn: a flood in one neither
    takes another's room nor delays it by more than one line of every console. Any thread may use it.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[str]] = {}
        """In the order of their turns; a console with no lines is not in it."""
        self._characters: dict[str, int] = {}
        self._news = threading.Condition()

    def __len__(self) -> int:
        with self._news:
            return sum(map(len, self._waiting.values()))

    def put(self, source: str, line: str) -> bool:
        """Add a line; False when there is no room for it."""
        with self._news:
            lines = self._waiting.setdefault(source, deque())
            characters = self._characters.get(source, 0) + len(line)
            if len(lines) >= MAX_LINES or characters > MAX_CHARACTERS:
                return False
            lines.append(line)
            self._characters[source] = characters
            self._news.notify()
            return True

    def take(self, seconds: float) -> tuple[str, str] | None:
        """The next console's oldest line, with its console; None when none comes within that time."""
        with self._news:
            if not self._news.wait_for(lambda: bool(self._waiting), seconds):
                return None
            source, lines = next(iter(self._waiting.items()))
            del self._waiting[source]
            line = lines.popleft()
            self._characters[source] -= len(line)
            if lines:
                self._waiting[source] = lines
            return source, line


class Console(threading.Thread):
    """Reads one console until its other end closes. The log file gets the bytes as they came."""

    def __init__(self, guest: str, stream: socket.socket, log: Path, lines: Lines) -> None:
        super().__init__(name=f"console-{guest}", daemon=True)
        self.guest = guest
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._stream = stream
        self._log = files.Log(log)
        self._lines = lines
        self._echoes: tuple[Callable[[bytes], None], ...] = ()

    def run(self) -> None:
        rest = bytearray()
        with self._log:
            # The other end goes away when the machine stops: that ends the log, and is not an error.
            with contextlib.suppress(OSError):
                while data := self._stream.recv(READ_BYTES):
                    self._log.write(data)
                    for echo in self._echoes:
                        echo(data)
                    *whole, last = data.split(b"\n")
                    for piece in whole:
                        rest += piece[: MAX_LINE_BYTES - len(rest)]
                        self._note(bytes(rest))
                        rest.clear()
                    rest += last[: MAX_LINE_BYTES - len(rest)]
            if rest:
                self._note(bytes(rest))

    def _note(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").strip("\r\n")
        self.tail.append(line)
        self._lines.put(self.guest, line)

    def send(self, data: bytes) -> None:
        """Type into the console."""
        self._stream.sendall(data)

    def listen(self, echo: Callable[[bytes], None]) -> None:
        """Also hand every byte to `echo` from now on, from this thread."""
        self._echoes += (echo,)

    def unlisten(self, echo: Callable[[bytes], None]) -> None:
        """End that."""
        self._echoes = tuple(one for one in self._echoes if one != echo)

    def close(self) -> None:
        """Close the connection and wait for the log to be complete."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_RDWR)
        if self.is_alive():
            self.join(timeout=5)
        self._stream.close()
