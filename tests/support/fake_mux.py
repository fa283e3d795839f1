# SPDX-License-Identifier: BSD-2-Clause
"""The console multiplexer's end of the serial line, for tests that need no C compiler: it takes frames and keys."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from router.console.counts import ASKS, Counts
from router.console.frames import KEYS, MAX_BODY, RELEASE, START, TAIL, escape, seal, unseal
from router.console.multiplexer import AGAIN, HIDE, SHOW, SYSTEM


class FakeMux:
    """Says lines of `ports` by `put`. Any thread may."""

    def __init__(self, ports: Sequence[str], put: Callable[[bytes], object]) -> None:
        self.ports = tuple(ports)
        self.focus = 0
        """The port that has the keyboard."""
        self.framed = False
        """A program has it."""
        self.counts: dict[int, Counts] = {}
        """The switch's counters by port. An image of an older router has none to tell."""
        self.asked = 0
        """Questions for counters."""
        self._put = put
        self._sequence = [0] * len(self.ports)
        self._taken: list[int | None] = [None] * len(self.ports)
        self._saying = threading.RLock()
        self._frame: bytearray | None = None
        self._escaped = False

    def frame(self, port: str, text: bytes, mark: bytes = b"|", *, ended: bool = True, hidden: bool = False) -> bytes:
        """The next frame of a port. ended: its line is complete; hidden: it goes on where the terminal is."""
        index = self.ports.index(port)
        with self._saying:
            sequence, self._sequence[index] = self._sequence[index], self._sequence[index] + 1
        body = escape(text)
        head = port.encode() + mark + b" " if mark else b""
        end, after = (HIDE, SHOW) if hidden else (b" ", b"\r\n")
        return seal(head + body + end, index, len(body), sequence, ended and not hidden) + after

    def again(self, port: str, text: bytes) -> bytes:
        """An unfinished line that is shown again."""
        return port.encode() + b"| " + text + HIDE + AGAIN + SHOW

    def say(self, port: str, line: bytes) -> None:
        """A line of a port."""
        size = MAX_BODY if len(escape(line)) == len(line) else MAX_BODY // 4
        pieces = [line[at : at + size] for at in range(0, len(line), size)] or [b""]
        with self._saying:
            for place, piece in enumerate(pieces):
                self._put(self.frame(port, piece, b"+" if place else b"|", ended=place == len(pieces) - 1))

    def line(self, text: str) -> None:
        """`NAME| text` of a port, or a line of no port."""
        name, bar, rest = text.partition("| ")
        if bar and name in self.ports:
            self.say(name, rest.encode())
        else:
            with self._saying:
                self._put(text.encode() + b"\r\n")

    def answer(self, port: int, sequence: int, text: bytes) -> None:
        """What the multiplexer says to a frame."""
        with self._saying:
            self._put(seal(self.ports[port].encode() + b"< " + text + b" ", port, len(text), sequence, True) + b"\r\n")

    def counters(self, key: bytes, counts: Counts, sequence: int, size: int = 10) -> list[bytes]:
        """The frames that tell a port's counters, with so many values each."""
        found = []
        for first in range(0, max(1, len(counts.values)), size):
            head = f"{counts.kind} {first}/{len(counts.values)}".encode()
            numbers = b"".join(b" %d" % value for value in counts.values[first : first + size])
            body = ASKS + key + b" " + head + numbers
            whole = SYSTEM.encode() + b"< " + body + b" "
            found.append(seal(whole, len(self.ports), len(body), sequence, True) + b"\r\n")
        return found

    def take(self, data: bytes) -> list[tuple[str, bytes]]:
        """What reaches which port by these bytes of the line."""
        came: list[tuple[str, bytes]] = []
        for byte in data:
            if byte == START[0]:
                self._frame = bytearray()
            elif self._frame is not None and byte == ord("\n"):
                came += self._take_frame(bytes(self._frame))
                self._frame = None
            elif self._frame is not None:
                self._frame.append(byte)
            elif self._escaped:
                self.focus, self._escaped, self.framed = KEYS.index(byte), False, False
            elif byte == 0x1C:
                self._escaped = True
            elif not self.framed:
                came.append((self.ports[self.focus], bytes((byte,))))
        return came

    def _take_frame(self, text: bytes) -> list[tuple[str, bytes]]:
        frame = unseal(text, 0, len(text) - TAIL)
        if frame is None:
            return []
        if frame.port == len(self.ports):
            self.asked += 1
            key = frame.body.removeprefix(ASKS)
            if (counts := self.counts.get(KEYS.find(key))) is not None:
                with self._saying:
                    for piece in self.counters(key, counts, frame.sequence):
                        self._put(piece)
            return []
        again = self._taken[frame.port] == frame.sequence
        if frame.flag:
            self.focus, self.framed, again = frame.port, frame.body != RELEASE, True
        else:
            self._taken[frame.port] = frame.sequence
        self.answer(frame.port, frame.sequence, b"taken")
        return [] if again else [(self.ports[frame.port], frame.body)]
