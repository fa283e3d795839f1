# SPDX-License-Identifier: BSD-2-Clause
"""What happens in a system that tests use: its events, collected from the start by a connection of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from router.control.client import Connection
from router.control.timeline import event_line
from router.errors import RouterError

END_TIMEOUT_S = 30.0
"""For the thread to notice that its connection was closed."""


@dataclass(frozen=True)
class Event:
    """Something that happened. number: from 0 since the boot. seconds: since the boot. name: docs/reference/milestones.

    `detail` is what the guest said of it: `1-2 port 5`, say.
    """

    number: int
    seconds: float
    guest: str
    name: str
    detail: str
    text: str

    def __str__(self) -> str:
        return event_line(self.seconds, self.guest, self.text)


class Events(threading.Thread):
    """All events so far, as they come. On a board this also keeps the board: who watches a system has it."""

    def __init__(self, connect: Callable[[], AbstractContextManager[Connection]]) -> None:
        super().__init__(name="router-events", daemon=True)
        self._connect = connect
        self._seen: list[Event] = []
        self._news = threading.Condition()
        self._connection: Connection | None = None
        self._watching = threading.Event()
        self.start()
        self._watching.wait(END_TIMEOUT_S)

    def run(self) -> None:
        try:
            with self._connect() as connection:
                self._connection = connection
                for row in connection.watch(0):
                    self._watching.set()
                    if row:
                        self._add(row)
        except RouterError:  # the system has ended, and who uses it next says so
            return
        finally:
            self._watching.set()

    def _add(self, row: dict[str, Any]) -> None:
        fields = (row["number"], row["seconds"], row["guest"], row["event"], row["detail"], row["text"])
        with self._news:
            self._seen.append(Event(*fields))
            self._news.notify_all()

    def so_far(self) -> tuple[Event, ...]:
        """Those that have come."""
        with self._news:
            return tuple(self._seen)

    def catch_up(self, count: int, timeout: float) -> int:
        """Wait until that many have come, for up to `timeout` seconds: how many there are then."""
        with self._news:
            self._news.wait_for(lambda: len(self._seen) >= count, timeout)
            return len(self._seen)

    def wait(self, wanted: Callable[[Event], bool], since: int, timeout: float) -> Event | None:
        """The first wanted one from the event of number `since` on; None when none comes within `timeout` seconds."""
        end = time.monotonic() + timeout
        with self._news:
            while True:
                found = next((event for event in self._seen if event.number >= since and wanted(event)), None)
                left = end - time.monotonic()
                if found is not None or left <= 0:
                    return found
                self._news.wait(left)

    def close(self) -> None:
        """End the thread."""
        if self._connection is not None:
            self._connection.hang_up()
        self.join(END_TIMEOUT_S)
