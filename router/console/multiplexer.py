"""The near end of the console multiplexer: one serial line with all guests' consoles on it, taken apart again.

What the console protection domain writes (drivers/mux.h): each line begins with the name of its port and `| `; a line
longer than 240 bytes goes on in further ones that begin with the name and `+ `. The console that has the keyboard
shows unfinished lines too, with the carriage returns that are in them; when another port completes a line meanwhile,
the unfinished line gets an end that is not its own, and is written again afterwards. What it reads: bytes for the
port that has the keyboard; Ctrl-\\ and a key of KEYS gives the keyboard to another, Ctrl-\\ twice is one Ctrl-\\.
Lines that begin with no port's name are the kernel's, the loader's or the Microkit monitor's (debug configurations).
"""

from __future__ import annotations

import string
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

PIECE = 240
"""Bytes from which a line is cut (`MUX_LINE`)."""
ESCAPE = 0x1C
KEYS = (string.digits + string.ascii_letters).encode()
"""The key of port n is the n-th."""


def select_port(index: int) -> bytes:
    """What gives the keyboard to a port."""
    return bytes((ESCAPE, KEYS[index]))


def typed(data: bytes) -> bytes:
    """Data for the port that has the keyboard, with Ctrl-\\ doubled."""
    return data.replace(bytes((ESCAPE,)), bytes((ESCAPE, ESCAPE)))


def _without_returns(text: bytes) -> tuple[bytes, bytes]:
    """The text up to the carriage returns that it ends with, and these."""
    kept = text.rstrip(b"\r")
    return kept, text[len(kept) :]


@dataclass
class _Port:
    """What is known of one port's output."""

    piece: bytes = b""
    """The text since the multiplexer's line buffer was last emptied, as far as it was passed on."""
    owed: bool = False
    """The line seems to have ended, but its end may turn out not to be its own."""
    interrupted: bool = False
    """Another port wrote after that."""
    repeat: bytes | None = None
    """The unfinished line that is expected to come again, as far as it has not yet."""
    cut: bool = False
    """The line ended because it had `PIECE` bytes."""
    doubtful: bool = False
    """It has just lost the keyboard, so that its next line end may not be its own."""


class Demultiplexer:
    """Takes the line apart: `feed` gives (port's name, bytes), with None for lines that belong to no port."""

    def __init__(self, ports: Sequence[str]) -> None:
        self._ports = {name: _Port() for name in ports}
        self._tags = {f"{name}{mark} ".encode(): (name, mark == "+") for name in ports for mark in "|+"}
        self._head: bytes | None = b""
        """The beginning of a line that does not tell its port yet; None within a line."""
        self._current: str | None = None
        self._returns = b""
        """Carriage returns that may turn out to belong to a port's line end."""
        self._focus = ports[0]

    @property
    def focus(self) -> str:
        """The port that has the keyboard."""
        return self._focus

    @focus.setter
    def focus(self, name: str) -> None:
        if name != self._focus:
            self._ports[self._focus].doubtful = True
        self._focus = name

    @property
    def owes(self) -> bool:
        """Whether `settle` would give something."""
        return any(port.owed and not port.cut for port in self._ports.values())

    def settle(self) -> list[tuple[str | None, bytes]]:
        """Line ends that nothing has disproved: to be called when the line has been silent for a moment."""
        given: list[tuple[str | None, bytes]] = []
        for name, port in self._ports.items():
            if port.owed and not port.cut:
                port.owed = False
                given.append((name, b"\n"))
        return given

    def feed(self, data: bytes) -> list[tuple[str | None, bytes]]:
        """Take what came; bytes for the same port are together."""
        given: list[tuple[str | None, bytes]] = []
        for name, part in self._parts(data):
            if given and given[-1][0] == name:
                given[-1] = (name, given[-1][1] + part)
            elif part:
                given.append((name, part))
        return given

    def _parts(self, data: bytes) -> Iterator[tuple[str | None, bytes]]:
        while data:
            if self._head is not None:
                data = yield from self._line_start(self._head, data)
                continue
            text, newline, data = data.partition(b"\n")
            if self._current is not None:
                text, self._returns = _without_returns(self._returns + text)
            yield from self._text(text)
            if newline:
                yield from self._line_end()

    def _line_start(self, head: bytes, data: bytes) -> Generator[tuple[str | None, bytes], None, bytes]:
        """Read on until the line tells whose it is; returns what follows."""
        for n in range(len(data)):
            known = head + data[: n + 1]
            if known in self._tags:
                self._head = None
                yield from self._piece(*self._tags[known])
                return data[n + 1 :]
            if not any(tag.startswith(known) for tag in self._tags):
                self._head, self._current = None, None
                return known + data[n + 1 :]
        self._head = head + data
        return b""

    def _piece(self, name: str, continues: bool) -> Iterator[tuple[str | None, bytes]]:
        """A line of a port begins."""
        self._current = name
        for other, port in self._ports.items():
            port.interrupted |= other != name and port.owed
        port = self._ports[name]
        if port.owed and not continues and port.interrupted and port.piece:
            port.repeat = port.piece
        elif port.owed and not continues:
            yield name, b"\n"
        if port.repeat is None:
            port.owed = port.interrupted = False
            port.piece = b""

    def _text(self, text: bytes) -> Iterator[tuple[str | None, bytes]]:
        if self._current is None:
            yield None, text
            return
        port = self._ports[self._current]
        if port.repeat is not None:
            same = min(len(text), len(port.repeat))
            if text[:same] == port.repeat[:same]:
                port.repeat, text = port.repeat[same:], text[same:]
                if port.repeat:
                    return
                port.repeat, port.owed, port.interrupted = None, False, False
            else:
                yield from self._no_repeat(port)
        port.piece += text
        yield self._current, text

    def _no_repeat(self, port: _Port) -> Iterator[tuple[str | None, bytes]]:
        """The line that came is not the unfinished one again: that one had ended."""
        matched = port.piece[: len(port.piece) - len(port.repeat or b"")]
        port.repeat, port.owed, port.interrupted = None, False, False
        port.piece = matched
        yield self._current, b"\n" + matched

    def _line_end(self) -> Iterator[tuple[str | None, bytes]]:
        self._head = b""
        if self._current is None:
            yield None, b"\n"
            return
        port = self._ports[self._current]
        if port.repeat is not None:
            yield from self._no_repeat(port)
        # The last carriage return is the line end's; any before it were the port's.
        port.cut = len(port.piece) + max(0, len(self._returns) - 1) == PIECE
        self._returns = b""
        if self._current == self._focus or port.cut or port.doubtful:
            port.owed, port.doubtful = True, False
        else:
            yield self._current, b"\n"
