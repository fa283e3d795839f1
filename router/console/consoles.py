# SPDX-License-Identifier: BSD-2-Clause
"""Guests' consoles as streams: every byte goes to a log file, every line to a queue."""

from __future__ import annotations

import contextlib
import queue
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
MAX_LINES = 65536
"""Lines of all consoles that wait to be looked at."""


class Console(threading.Thread):
    """Reads one console until its other end closes. The log file gets the bytes as they came."""

    def __init__(self, guest: str, stream: socket.socket, log: Path, lines: queue.Queue[tuple[str, str]]) -> None:
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
                while data := self._stream.recv(65536):
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
        # A run that does not look at its lines for long loses some, not the computer's memory.
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait((self.guest, line))

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
