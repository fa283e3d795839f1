# SPDX-License-Identifier: BSD-2-Clause
"""The near end of the console multiplexer: one serial line with all guests' consoles on it, taken apart again.

docs/reference/serial-line.md describes the line. Each frame tells its port, and is judged alone: one with lost or
altered bytes is dropped, and nothing that a guest prints can look like the end of a frame. So what comes out of a port
is what went in there, or less.

Lines that begin with no port's name and have no frame's tail are the loader's, the kernel's or the Microkit monitor's
(debug configurations).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from router.console.frames import MARK, MAX_BODY, SEQUENCES, TAIL, unseal

HIDE = b"\x1b]77;"
"""What comes before the tail of an unfinished line (`MUX_HIDE`); `SHOW` comes after it."""
SHOW = b"\a"
AGAIN = MARK + b"-" * (TAIL - 1)
"""The tail of a line that is shown again for people, which is not a frame."""
MAX_SYSTEM_LINE = 4096
"""Bytes of a line of no port that are kept while its end has not come; longer ones are given in pieces."""
MAX_WHOLE_LINE = 1 << 16
"""Bytes of a control channel's line that are kept while its end has not come: the agent's lines are below 4 KiB. A
longer one is dropped."""
_MAX_HEAD = 44
_ENDS = re.compile(rb"[\n\a]")
_MAX_TEXT = _MAX_HEAD + MAX_BODY + len(HIDE)
TAKEN, FULL = b"taken", b"full"
SYSTEM = "system"
"""Who speaks of the protection domains (`MUX_SYSTEM`), in frames of the port behind the last one."""


@dataclass(frozen=True)
class Answer:
    """What the multiplexer says to a frame that it was sent: whether the port has taken it."""

    port: str
    sequence: int
    taken: bool


@dataclass(frozen=True)
class Said:
    """A frame of the system's answer to a frame."""

    sequence: int
    body: bytes


MAX_SAID = 64
"""Frames of the system that are kept until the caller takes them: later ones are dropped."""


@dataclass
class _Port:
    name: str
    whole: bool
    """Only whole lines are given: a program reads them."""
    expected: int | None = None
    """The next frame's sequence number."""
    lost: int = 0
    line: bytes = b""
    skips: bool = True
    """`whole`: the beginning of the line has been lost."""


class Demultiplexer:
    """Takes the line apart: `feed` gives (port's name, bytes), with None for lines that belong to no port.

    whole: ports whose lines are given whole or not at all.
    """

    def __init__(self, ports: Sequence[str], whole: Collection[str] = ()) -> None:
        self._ports = [_Port(name, name in whole) for name in ports]
        self._by_name = {port.name: port for port in self._ports}
        self._heads = (*(f"{name}{mark} ".encode() for name in ports for mark in "|+<"), f"{SYSTEM}< ".encode())
        self._system = _Port(SYSTEM, whole=False)
        self._text = b""
        """The line since the last frame on it, as far as it has come."""
        self._fresh = True
        """Nothing of the line has been read yet: a frame here has a head."""
        self._skip = False
        """The line is damaged: what comes up to its end is dropped."""
        self._foreign = False
        """The line belongs to no port, and its beginning has been given."""
        self.damaged = 0
        """Lines and pieces that were dropped."""
        self.answers: list[Answer] = []
        """What the multiplexer has said to frames; the caller takes them out."""
        self.said: list[Said] = []
        """What the system has said to frames; the caller takes them out."""

    def lost(self, name: str) -> int:
        """Frames of a port that were missing before others of it."""
        return self._by_name[name].lost

    def feed(self, data: bytes) -> list[tuple[str | None, bytes]]:
        """Take what came; bytes for the same port are together."""
        given: list[tuple[str | None, bytes]] = []
        for name, part in self._parts(data):
            if given and given[-1][0] == name:
                given[-1] = (name, given[-1][1] + part)
            elif part:
                given.append((name, part))
        return given

    def end(self) -> list[tuple[str | None, bytes]]:
        """The line has ended: the unfinished text of no port, if there is any."""
        text, self._text = self._text, b""
        return [(None, text)] if text and self._fresh and not self._skip and not self._ours(text) else []

    def _parts(self, data: bytes) -> Iterator[tuple[str | None, bytes]]:
        at = 0
        for found in _ENDS.finditer(data):
            self._text += data[at : found.start()]
            at = found.end()
            yield from self._line_end() if found[0] == b"\n" else self._piece_end()
        self._text += data[at:]
        yield from self._limit()

    def _piece_end(self) -> Iterator[tuple[str | None, bytes]]:
        """A bell: the end of an unfinished piece, or a guest's or the kernel's bell, which is text."""
        text = self._text
        place = text.rfind(MARK)
        if self._skip or place < 0 or len(text) - place != TAIL or not text[:place].endswith(HIDE):
            self._text += SHOW
            yield from self._limit()
            return
        self._text = b""
        if text[place:] != AGAIN:
            yield from self._frame(text, place - len(HIDE))
        self._fresh = False

    def _line_end(self) -> Iterator[tuple[str | None, bytes]]:
        text, fresh, skip, foreign = self._text, self._fresh, self._skip, self._foreign
        self._text, self._fresh, self._skip, self._foreign = b"", True, False, False
        bare = text.removesuffix(b"\r")
        place = bare.rfind(MARK)
        if skip:
            self.damaged += 1
        elif foreign:
            yield None, text + b"\n"
        elif place > 0 and len(bare) - place == TAIL and bare[place - 1 : place] == b" ":
            self._fresh = fresh
            yield from self._frame(bare, place - 1)
            self._fresh = True
        elif not fresh:
            self.damaged += bool(bare)  # nothing at all: an unfinished line was ended
        elif self._ours(bare):
            self.damaged += 1
        else:
            yield None, text + b"\n"

    def _ours(self, text: bytes) -> bool:
        return text.startswith(self._heads)

    def _limit(self) -> Iterator[tuple[str | None, bytes]]:
        """Keeps little of a line that does not end."""
        if self._skip:
            self._text = b""
        elif self._fresh and len(self._text) > _MAX_TEXT + TAIL + 2 and (self._foreign or not self._ours(self._text)):
            if len(self._text) > MAX_SYSTEM_LINE:
                self._foreign = True
                text, self._text = self._text, b""
                yield None, text
        elif len(self._text) > _MAX_TEXT + TAIL + 2:
            self._skip, self._text = True, b""

    def _frame(self, text: bytes, end: int) -> Iterator[tuple[str | None, bytes]]:
        """The bytes of a frame up to the end of its tail, whose body ends at `end`."""
        start = 0
        if self._fresh:
            head = next((head for head in self._heads if text.startswith(head)), b"")
            start = len(head)
        frame = unseal(text, start, end) if MARK not in text[:end] and (start or not self._fresh) else None
        if frame is None or frame.port > len(self._ports):
            self.damaged += 1
            return
        of_system = frame.port == len(self._ports)
        port = self._system if of_system else self._ports[frame.port]
        mark = text[len(port.name) : len(port.name) + 1] if start else b"+"
        if (start and text[:start] != port.name.encode() + mark + b" ") or (of_system and mark != b"<"):
            self.damaged += 1
        elif mark == b"<":
            yield from self._said(port, frame.body, frame.sequence, frame.flag)
        else:
            yield from self._data(port, frame.body + b"\n" * frame.flag, frame.sequence, mark == b"|")

    def _said(self, port: _Port, body: bytes, sequence: int, answers: bool) -> Iterator[tuple[str | None, bytes]]:
        if answers and port is self._system:
            if len(self.said) < MAX_SAID:
                self.said.append(Said(sequence, body))
        elif answers:
            self.answers.append(Answer(port.name, sequence, body == TAKEN))
        else:
            yield None, f"{port.name}: ".encode() + body + b"\n"

    def _data(self, port: _Port, data: bytes, sequence: int, begins: bool) -> Iterator[tuple[str | None, bytes]]:
        gap = 0 if port.expected is None else (sequence - port.expected) % SEQUENCES
        port.lost += gap
        port.expected = (sequence + 1) % SEQUENCES
        if not port.whole:
            yield port.name, data
            return
        if gap or begins:
            port.line, port.skips = b"", not begins
        if not port.skips:
            port.line += data
        port.skips |= len(port.line) > MAX_WHOLE_LINE
        if port.skips:
            port.line = b""
        elif data.endswith(b"\n"):
            line, port.line = port.line, b""
            yield port.name, line
