# SPDX-License-Identifier: BSD-2-Clause
"""Whether the server lives, where no keepalive of the transport tells: vsock has none.

The client sends beats on its watch, and the server answers each. A server that misses some is not dead yet: its program
may be held up while its kernel goes on serving what is attached. It is dead when new connections do not come to stand
either: those its kernel answers, whatever the program does.
"""

from __future__ import annotations

from collections.abc import Callable

from router.usbip.protocol.handshake import BEAT_INTERVAL_S
from router.usbip.runtime.event_loop import Loop

# Together they keep what people are promised, 15 s: 3 intervals, and 3 x CONNECT_TIMEOUT_S with the delays in between.
MAX_UNANSWERED, MAX_UNREACHED = 2, 3


class Liveness:
    """beat: sends a beat on the watch, if it stands. silent: ends the watch, whose server misses beats.

    dead: gives up what is attached; called again after each further attempt to reach the server.
    """

    def __init__(
        self, loop: Loop, beat: Callable[[], None], silent: Callable[[], None], dead: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._beat = beat
        self._silent = silent
        self._dead = dead
        self._unanswered = 0
        self._unreached = 0

    def start(self) -> None:
        """Begins to count intervals."""
        self._loop.call_later(BEAT_INTERVAL_S, self._interval)

    def heard(self) -> None:
        """The server has said something."""
        self._unanswered = 0
        self._unreached = 0

    def failed(self, reached: bool) -> None:
        """An attempt to talk with the server has failed; whether its connection came to stand, or was refused."""
        self._unanswered = 0
        self._unreached = 0 if reached else self._unreached + 1
        if self._unreached >= MAX_UNREACHED:
            self._dead()

    def _interval(self) -> None:
        self._loop.call_later(BEAT_INTERVAL_S, self._interval)
        if self._unanswered >= MAX_UNANSWERED:
            self._unanswered = 0
            self._silent()
        else:
            self._unanswered += 1
            self._beat()
