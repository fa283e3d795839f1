"""A terminal on a running board: everything its serial line carries, or one guest's console out of it."""

from __future__ import annotations

import os
import select
import string
import sys
import termios
import tty
from collections.abc import Callable
from typing import Any, Protocol

from router.errors import DescriptionError, MachineError
from router.machines.board.plan import Consoles

END_KEY = b"\x1d"  # Ctrl-]
KEYS = string.digits + string.ascii_lowercase + string.ascii_uppercase


class Stream(Protocol):
    """A board's console: a SerialLine, or a channel to a lab host."""

    def read(self, seconds: float) -> bytes: ...

    def write(self, data: bytes) -> None: ...


class ChannelStream:
    """The console of a board behind a lab host, as a Stream. The channel is paramiko's."""

    def __init__(self, channel: Any, failed: Callable[[str], Exception]) -> None:
        self._channel = channel
        self._failed = failed
        self._opened = False

    def read(self, seconds: float) -> bytes:
        """What came in; MachineError when the connection ended."""
        if not select.select([self._channel], [], [], seconds)[0]:
            return b""
        data: bytes = self._channel.recv(65536)
        if not data:
            raise MachineError("the lab host closed the console")
        if not self._opened:
            self._opened = True
            if not data.startswith(b"\n"):
                raise self._failed(data.decode("utf-8", "replace"))
            data = data[1:]
        return data

    def write(self, data: bytes) -> None:
        """Send all of it."""
        self._channel.sendall(data)


class Demultiplexer:
    """Splits a multiplexed line by the guests' tags. Text reaches its guest as it comes, not only at line ends."""

    def __init__(self, consoles: Consoles) -> None:
        self._tags = {
            form.replace("{name}", name).encode(): (name, form == consoles.more)
            for name in consoles.names
            for form in (consoles.tag, consoles.more)
        }
        self._start = b""  # of a line of which it is not known yet whose it is
        self._owner: str | None = None
        self._within = False

    def feed(self, data: bytes) -> list[tuple[str | None, bytes]]:
        """The pieces in order, each with its guest, or None for the system's own lines. Tags are left out."""
        out: list[tuple[str | None, bytes]] = []
        for piece in (self._start + data if not self._within else data).splitlines(keepends=True):
            rest = piece
            if not self._within:
                self._start = b""
                tag = next((tag for tag in self._tags if piece.startswith(tag)), None)
                if tag is None and not piece.endswith(b"\n") and any(t.startswith(piece) for t in self._tags):
                    self._start = piece
                    break
                self._owner, continued = self._tags[tag] if tag is not None else (None, False)
                rest = piece[len(tag or b"") :]
                if continued and out and out[-1][0] == self._owner:
                    out[-1] = (self._owner, out[-1][1].rstrip(b"\r\n"))
                self._within = True
            if rest:
                out.append((self._owner, rest))
            if piece.endswith(b"\n"):
                self._within = False
        return out


def index_of(consoles: Consoles, guest: str) -> int:
    """A guest's number among the consoles; DescriptionError when it has none."""
    if guest not in consoles.names:
        known = ", ".join(consoles.names) or "none: its line is not shared"
        raise DescriptionError(f"no console '{guest}'", hint=f"consoles of this system: {known}")
    return consoles.names.index(guest)


def attach(stream: Stream, consoles: Consoles, guest: str | None) -> None:
    """Connect this terminal until Ctrl-] or the end of standard input; its settings are restored."""
    splitter = None
    if guest is not None:
        number = index_of(consoles, guest)
        splitter = Demultiplexer(consoles)
        stream.write(consoles.select.replace("{key}", KEYS[number]).encode())
    interactive = sys.stdin.isatty()
    settings = termios.tcgetattr(0) if interactive else None
    try:
        if interactive:
            tty.setraw(0)
        _pump(stream, splitter, guest)
    finally:
        if settings is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, settings)


def _pump(stream: Stream, splitter: Demultiplexer | None, guest: str | None) -> None:
    open_input, last = True, 0
    while open_input or last < 10:  # a second of what still comes after the input has ended
        if open_input and select.select([0], [], [], 0)[0]:
            typed = os.read(0, 4096)
            before, end, _ = typed.partition(END_KEY)
            if before:
                stream.write(before)
            if end:
                return
            open_input = bool(typed)
        data = stream.read(0.02 if open_input else 0.1)
        if not open_input:
            last = 0 if data else last + 1
        if splitter is not None:
            data = b"".join(piece for owner, piece in splitter.feed(data) if owner == guest)
        if data:
            os.write(1, data)
