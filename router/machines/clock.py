# SPDX-License-Identifier: BSD-2-Clause
"""Sets the clocks of guests from this computer's: a guest has no clock that runs while it is off.

Standard library only: it runs on lab hosts as well.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from router.errors import MachineError

CLOCK_TIMEOUT_S = 60.0
"""For one guest: its agent may start a moment after user space is up."""


def clock_command(now: float) -> str:
    """The shell command that sets a guest's clock to `now` (seconds since 1970), unless its image is newer."""
    return f"read -r least </etc/router/date 2>/dev/null; [ {now:.0f} -lt ${{least:-0}} ] || date -u -s @{now:.0f}"


class ClockSetter:
    """Sets the clock of each guest that is up, in a thread of its own, one after another.

    execute: runs a command in a guest within some seconds, or until its last argument says that it is not wanted.
    A guest without an agent keeps the clock that it has.
    """

    def __init__(self, execute: Callable[[str, str, float, Callable[[], bool]], object]) -> None:
        self._execute = execute
        self._guests: queue.Queue[str | None] = queue.Queue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="clock", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def guest_is_up(self, guest: str) -> None:
        """Any thread may say so, also of a guest that was started again."""
        self._guests.put(guest)

    def close(self) -> None:
        """End the thread; a command that is under way is given up."""
        self._stopping.set()
        self._guests.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (guest := self._guests.get()) is not None and not self._stopping.is_set():
            with contextlib.suppress(MachineError):
                self._execute(guest, clock_command(time.time()), CLOCK_TIMEOUT_S, self._stopping.is_set)
