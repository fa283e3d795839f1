# SPDX-License-Identifier: BSD-2-Clause
"""Notices that the console multiplexer has stopped: while the line is silent it is asked, by a frame without data."""

from __future__ import annotations

from router.console.line_input import PortInput

SILENCE_S = 5.0
"""Without a frame, after which the multiplexer is asked whether it still works."""
MAX_UNANSWERED = 30
"""Tries of the same frame, half a second each, after which the multiplexer counts as dead."""
DEAD = (
    "the console multiplexer does not answer any more: the kernel or the protection domain 'console' has stopped, or a"
    " domain of higher priority runs in a loop"
)


class Silence:
    """When to ask. port: by whose frames; its guest gets no data.

    Nothing is asked before the multiplexer has said something, nor after text of no port: that may be a boot loader's,
    whose countdown a key would end.
    """

    def __init__(self, port: PortInput) -> None:
        self._port = port
        self._asks = False
        self.foreign = False
        """The last that came belongs to no port."""
        self._heard = 0.0

    def heard(self, now: float, *, framed: bool) -> None:
        """Something came. framed: from the multiplexer."""
        self._asks, self._heard = framed, now
        self.foreign = not framed
        if not framed:
            self._port.forget()

    def due(self) -> float | None:
        """When the multiplexer is to be asked, unless something comes."""
        return self._heard + SILENCE_S if self._asks else None

    def ask(self, now: float) -> None:
        """Let the port ask, if it is time and it has no question on its way."""
        due = self.due()
        if due is not None and now >= due and self._port.due() is None:
            self._port.ask()


def is_dead(port: PortInput) -> bool:
    """Whether the multiplexer has answered nothing for some 15 s although it was asked."""
    return port.unanswered >= MAX_UNANSWERED
