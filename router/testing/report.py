# SPDX-License-Identifier: BSD-2-Clause
"""The page of a system that tests use, as `router run --report` writes it of a run: the tests are its steps."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from router import files
from router.overview.page import RunPage
from router.overview.picture import Step
from router.testing.events import Event, Events
from router.testing.machine import Machine
from router.testing.names import folder_name

BOOT = "boot"


class Heard:
    """The time line of a system, as far as its events have come. It is the system's own clock that counts."""

    def __init__(self, events: Events, seconds: float) -> None:
        """seconds: what its clock says now."""
        self._events = events
        self._start = time.monotonic() - seconds

    @property
    def events(self) -> tuple[Event, ...]:
        return self._events.so_far()

    def elapsed(self) -> float:
        return time.monotonic() - self._start


class SystemPage:
    """Watches a system from its boot on. `folder`: where the page of each boot is kept, by name, mode and number."""

    def __init__(self, folder: Path, boot: int, machine: Machine, events: Events) -> None:
        with machine.connect() as connection:
            state = connection.state()
        self._heard = Heard(events, float(state["seconds"]))
        system = str(state["system"])
        self.path = folder / f"{folder_name(f'{system}-{machine.mode}-{boot}')}.html"
        self._page = RunPage(self.path, system, machine.mode, self._heard, machine.connect)
        self._steps = [Step(BOOT, 0.0, self._heard.elapsed())]
        self._stack = ExitStack()
        self._stack.enter_context(self._page.watching())

    def step(self, name: str, seconds: float, wrong: str) -> None:
        """A test that took so long has just ended. wrong: why it failed, if it did."""
        self._steps.append(Step(name, max(0.0, self._heard.elapsed() - seconds), seconds, wrong))

    def look_last(self) -> None:
        """Look at the system once more before it ends, and watch no longer."""
        self._stack.close()

    def write(self, wrong: str) -> None:
        """Write the page. wrong: why the system has ended early; empty if it has not. OSError when that fails."""
        files.write(self.path, self._page.html(self._steps, wrong))
