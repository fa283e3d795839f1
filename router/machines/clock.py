# SPDX-License-Identifier: BSD-2-Clause
"""Sets the clocks of guests from this computer's: a guest has no clock that runs while it is off.

Standard library only: it runs on lab hosts as well.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable

from router.errors import MachineError

CLOCK_TIMEOUT_S = 60.0
"""For one guest's agent to answer: it may start a moment after user space is up."""
CLOCK_COMMAND_TIMEOUT_S = 10.0
"""For setting the clock, once the agent has answered. Other commands in that guest wait meanwhile."""


def clock_command(now: float) -> str:
    """The shell command that sets a guest's clock to `now` (seconds since 1970), unless its image is newer."""
    return f"read -r least </etc/router/date 2>/dev/null; [ {now:.0f} -lt ${{least:-0}} ] || date -u -s @{now:.0f}"


class ClockSetter:
    """Sets the clock of each guest that is up, in a thread for each: one that does not answer delays no other.

    set_clock: sets one guest's clock, or gives up soon after its last argument says that it is not wanted any more.
    A guest without an agent keeps the clock that it has.
    """

    def __init__(self, guests: Iterable[str], set_clock: Callable[[str, Callable[[], bool]], object]) -> None:
        self._set_clock = set_clock
        self._stopping = threading.Event()
        self._up = {guest: threading.Event() for guest in guests}
        self._threads = [
            threading.Thread(target=self._work, args=(guest, up), name=f"clock-{guest}", daemon=True)
            for guest, up in self._up.items()
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def guest_is_up(self, guest: str) -> None:
        """Any thread may say so, also of a guest that was started again."""
        self._up[guest].set()

    def close(self) -> None:
        """End the threads; what is under way is given up."""
        self._stopping.set()
        for up in self._up.values():
            up.set()
        for thread in self._threads:
            thread.join()

    def _work(self, guest: str, up: threading.Event) -> None:
        while up.wait() and not self._stopping.is_set():
            up.clear()
            with contextlib.suppress(MachineError):
                self._set_clock(guest, self._stopping.is_set)
