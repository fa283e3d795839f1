# SPDX-License-Identifier: BSD-2-Clause
"""What happens while a system comes up: milestones read from console lines, shown as a time line."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TextIO

from router import display
from router.control.milestones import match
from router.display import safe

MAX_EVENTS = 10_000
"""Of one guest, which can print any number of milestones: some 10 MB of memory."""


@dataclass(frozen=True)
class Event:
    """A milestone that was seen. `seconds` since the run started."""

    seconds: float
    guest: str
    name: str
    detail: str
    text: str


def event_line(seconds: float, guest: str, text: str) -> str:
    """An event for people; the text is a guest's own words."""
    return safe(f"{seconds:7.2f} s  {guest:<10} {text}")


class Timeline:
    """Keeps the events of a run and shows each as it comes: plain lines, or JSON for programs.

    Any thread may add and wait.
    """

    def __init__(
        self, *, as_json: bool = False, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ):
        self._json = as_json
        self._out = out or (sys.stdout if as_json else sys.stderr)
        self._clock = clock
        self._start = clock()
        self.events: list[Event] = []
        self._of: dict[str, list[Event]] = {}
        """The same by guest."""
        self._named: dict[tuple[str, str], list[Event]] = {}
        """The same by guest and name."""
        self._muted = False
        self._news = threading.Condition()

    def elapsed(self) -> float:
        """Seconds since the run started."""
        return self._clock() - self._start

    def add(self, guest: str, name: str, detail: str, text: str) -> Event:
        """Note an event now and show it."""
        with self._news:
            event = Event(round(self.elapsed(), 2), guest, name, detail, text)
            number = len(self._of.setdefault(guest, [])) + 1
            if number > MAX_EVENTS:
                return event
            if number == MAX_EVENTS:
                event = replace(event, name="overflow", detail="", text=f"over {MAX_EVENTS} events: no more are kept")
            for events in (self.events, self._of[guest], self._named.setdefault((guest, event.name), [])):
                events.append(event)
            self._show(event)
            self._news.notify_all()
        return event

    def _show(self, event: Event) -> None:
        if self._muted:
            return
        if self._json:
            row = {"seconds": event.seconds, "guest": event.guest, "event": event.name, "detail": event.detail}
            text = json.dumps(row)
        else:
            text = event_line(event.seconds, event.guest, event.text)
        display.styled(text, stream=self._out)

    def wait(self, since: int, timeout: float) -> list[Event]:
        """The events after the first `since` ones, waiting up to `timeout` seconds for one; may be empty."""
        with self._news:
            self._news.wait_for(lambda: len(self.events) > since, timeout)
            return self.events[since:]

    def mute(self) -> None:
        """Note events from now on without showing them."""
        self._muted = True

    def line(self, guest: str, line: str) -> Event | None:
        """Look at one console line of a guest; the event, when it tells one."""
        found = match(line)
        if found is None:
            return None
        milestone, detail = found
        text = milestone.text.format(detail).strip()
        return self.add(guest, milestone.name, detail, f"warning: {text}" if milestone.warning else text)

    def seen(self, guest: str, name: str) -> list[Event]:
        """All events of that name of one guest."""
        return list(self._named.get((guest, name), ()))

    def last(self, guest: str, count: int) -> list[Event]:
        """The last events of one guest, oldest first."""
        return self._of.get(guest, [])[-count:]
