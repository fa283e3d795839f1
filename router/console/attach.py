# SPDX-License-Identifier: BSD-2-Clause
"""A terminal on everything that a board's serial line carries, as it is: boot loader, kernel, tagged guests' lines."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any, Protocol

from router.console.terminal import SILENCE_TIMEOUT_S, Keys, raw_terminal, show
from router.errors import MachineError


class ConsoleStream(Protocol):
    """A board's console: a SerialPort, or a channel to a lab host. `opened`: whether the line is there already."""

    @property
    def opened(self) -> bool: ...

    def read(self, seconds: float) -> bytes: ...

    def write(self, data: bytes) -> None: ...


class ChannelStream:
    """The console of a board behind a lab host, as a ConsoleStream. The channel is paramiko's."""

    def __init__(self, channel: Any, failed: Callable[[str], Exception]) -> None:
        self._channel = channel
        self._failed = failed
        self.opened = False

    def read(self, seconds: float) -> bytes:
        """What came in; MachineError when the connection ended."""
        if not select.select([self._channel], [], [], seconds)[0]:
            return b""
        data: bytes = self._channel.recv(65536)
        if not data:
            raise MachineError("the lab host closed the console")
        if not self.opened:
            self.opened = True
            if not data.startswith(b"\n"):
                raise self._failed(data.decode("utf-8", "replace"))
            data = data[1:]
        return data

    def write(self, data: bytes) -> None:
        """Send all of it."""
        self._channel.sendall(data)


def attach(stream: ConsoleStream) -> None:
    """Connect this terminal until Ctrl-], or until all is silent after standard input has ended.

    Silence counts from when the line is open. The terminal's settings are restored.
    """
    keys, silent = Keys(), 0.0
    with raw_terminal():
        while not keys.left and silent < SILENCE_TIMEOUT_S:
            if typed := keys.take(0):
                stream.write(typed)
            data = stream.read(0.02 if keys.open else 0.1)
            if data:
                show(data)
            silent = 0.0 if data or keys.open or not stream.opened else silent + 0.1
