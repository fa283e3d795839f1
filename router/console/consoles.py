# SPDX-License-Identifier: BSD-2-Clause
"""Guests' consoles as streams: every byte goes to a log file, every line to whoever waits for it."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

TAIL = 20
"""Lines kept of each console for error reports."""


class Console(threading.Thread):
    """Reads one console until its other end closes. The log file gets the bytes as they came."""

    def __init__(self, guest: str, stream: socket.socket, log: Path, lines: queue.Queue[tuple[str, str]]) -> None:
        super().__init__(name=f"console-{guest}", daemon=True)
        self.guest = guest
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._stream = stream
        self._log = log
        self._lines = lines
        self._echoes: tuple[Callable[[bytes], None], ...] = ()

    def run(self) -> None:
        rest = b""
        with self._log.open("ab", buffering=0) as log:
            # The other end goes away when the machine stops: that ends the log, and is no error.
            with contextlib.suppress(OSError):
                while data := self._stream.recv(65536):
                    log.write(data)
                    for echo in self._echoes:
                        echo(data)
                    *whole, rest = (rest + data).split(b"\n")
                    for line in whole:
                        self._note(line)
            if rest:
                self._note(rest)

    def _note(self, raw: bytes) -> None:
        line = raw.decode(errors="replace").strip("\r\n")
        self.tail.append(line)
        self._lines.put((self.guest, line))

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
