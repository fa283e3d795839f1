# SPDX-License-Identifier: BSD-2-Clause
"""What is on its way to one port of the shared serial line: frames that are sent again until they are answered."""

from __future__ import annotations

import secrets

from router.console.frames import SEQUENCES, give_keyboard, to_port

ANSWER_TIMEOUT_S = 0.5
"""After which a frame, or its answer, counts as lost: at 115,200 baud an answer waits up to 30 ms for the frame that is
on its way."""
MIN_RETRY_S, MAX_RETRY_S = 0.05, 1.0
"""Between tries while the guest's ring is full; doubled each time."""
REFUSED_TIMEOUT_S = 5.0
"""After which what a guest has no room for is dropped: it must not run a command of long ago when it reads again."""


class PortInput:
    """Sends one frame at a time to port `index`, and the next when the multiplexer says that it was taken.

    lines: the guest reads lines, so after something was dropped the next line must begin anew.
    """

    def __init__(self, index: int, *, lines: bool = False) -> None:
        self._index = index
        self._lines = lines
        self._torn = False
        """Something was dropped, perhaps in the middle of a line."""
        self._refused: float | None = None
        """Since when the guest has had no room."""
        self.dropped = 0
        """Bytes that the guest had no room for in time."""
        self._sequence = secrets.randbelow(SEQUENCES)
        self._waiting = b""
        self._keyboard = False
        self._asked = False
        """A frame without data is to be sent, for its answer."""
        self.unanswered = 0
        """How often the frame on its way has been sent without an answer."""
        self._opened = False
        """The multiplexer knows our sequence, so it does not take our first frame for its last one."""
        self._frame: bytes | None = None
        """On its way."""
        self._carried = 0
        """Bytes of `_waiting` that are in it."""
        self._gives_keyboard = False
        """`_frame` gives the port the keyboard."""
        self._due = 0.0
        self._retry = MIN_RETRY_S

    @property
    def idle(self) -> bool:
        """Whether everything has been taken, so that more is welcome."""
        return not self._waiting

    def write(self, data: bytes) -> None:
        """Send this after what waits already."""
        if data and self._torn:
            self._torn = False
            data = b"\n" + data
        self._waiting += data

    def ask_keyboard(self) -> None:
        """Give the port the keyboard before anything else."""
        self._keyboard = True

    def ask(self) -> None:
        """Send something that is answered, whatever the guest does."""
        self._asked = True

    def forget(self) -> None:
        """Send no more what `ask` has asked for."""
        self._asked = False
        if self._frame is not None and not self._waiting and not self._gives_keyboard:
            self._frame = None

    def take(self, now: float) -> bytes:
        """The frame that is to be sent now; empty when there is none."""
        if self._frame is None:
            self._next()
        elif now < self._due:
            return b""
        if self._frame is None:
            return b""
        self._due = now + ANSWER_TIMEOUT_S
        self.unanswered += 1
        return self._frame

    def due(self) -> float | None:
        """When `take` has something next, unless an answer comes."""
        if self._frame is not None:
            return self._due
        return 0.0 if self._waiting or self._keyboard or self._asked else None

    def _refuse(self, now: float) -> None:
        if self._refused is None:
            self._refused = now
        if now - self._refused < REFUSED_TIMEOUT_S:
            self._due = now + self._retry
            self._retry = min(2 * self._retry, MAX_RETRY_S)
            return
        self.dropped += len(self._waiting)
        self._frame, self._waiting, self._torn = None, b"", self._lines

    def _next(self) -> None:
        self._sequence = (self._sequence + 1) % SEQUENCES
        self._gives_keyboard = self._keyboard
        self._carried = 0
        if self._keyboard:
            self._keyboard = False
            self._frame = give_keyboard(self._index, self._sequence)
        elif self._asked or (self._waiting and not self._opened):
            self._asked = False
            self._frame, _ = to_port(self._index, self._sequence, b"")
        elif self._waiting:
            self._frame, rest = to_port(self._index, self._sequence, self._waiting)
            self._carried = len(self._waiting) - len(rest)

    def answered(self, sequence: int, taken: bool, now: float) -> bool:
        """An answer to a frame of ours, or to an older one. True when the port has got the keyboard by it."""
        if self._frame is None or sequence != self._sequence:
            return False
        self.unanswered = 0
        if not taken:
            self._refuse(now)
            return False
        self._retry, self._refused = MIN_RETRY_S, None
        self._frame = None
        if self._gives_keyboard:
            self._gives_keyboard = False
            return True
        self._opened = True
        self._waiting = self._waiting[self._carried :]
        return False
