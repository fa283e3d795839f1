# SPDX-License-Identifier: BSD-2-Clause
"""The page of a finished run: one HTML file that needs nothing from elsewhere, in which guests' words are text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from markupsafe import Markup

from router import __version__, files
from router.control.client import Connection
from router.display import safe_lines
from router.errors import RouterError
from router.overview import rows
from router.overview.moment import Event, Moment, Story
from router.overview.picture import Step, run_svg
from router.overview.record import Record
from router.overview.rows import Table
from router.overview.watcher import Connect, Watcher
from router.templates import template

INTERVAL_S = 1.0
MAX_ROWS = 2000
"""Events in the page, the last ones; the logs have all."""


class Told(Protocol):
    """A row of the time line."""

    @property
    def seconds(self) -> float: ...
    @property
    def guest(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str: ...


class Happened(Protocol):
    """A time line: this process's own, or what was heard of another's."""

    @property
    def events(self) -> Sequence[Told]:
        """What has happened so far."""
        ...

    def elapsed(self) -> float:
        """Seconds since it began."""
        ...


@dataclass
class RunPage:
    """The page of a run, written to `path` once the run is over; None: nothing is watched or written.

    connect: opens a connection to the system; None: to the one of that name on this computer.
    """

    path: Path | None
    system: str
    mode: str
    timeline: Happened
    connect: Connect | None = None

    def __post_init__(self) -> None:
        self.record = Record()
        self._end: float | None = None

    @contextlib.contextmanager
    def writing(self, steps: Callable[[], Sequence[Step]]) -> Iterator[None]:
        """Writes the page at the end, however the run ends. steps: what the run did."""
        wrong = ""
        try:
            yield
        except RouterError as error:
            wrong = str(error)
            raise
        except KeyboardInterrupt:
            wrong = "stopped by Ctrl-C"
            raise
        except BaseException as error:
            wrong = f"{type(error).__name__}: {error}"
            raise
        finally:
            if self.path is not None:
                files.write(self.path, self.html(steps(), wrong))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Looks at the system, which is served, from time to time, and once more at the end if it still runs."""
        if self.path is None:
            yield
            return
        with Watcher(self.connect or (lambda: Connection(self.system)), INTERVAL_S, self.record.add) as watcher:
            try:
                yield
            finally:
                self._end = self.timeline.elapsed()
                watcher.look_again()

    def html(self, steps: Sequence[Step], wrong: str) -> str:
        """The page's text. wrong: why the run ended early; empty if it did not."""
        happened = [Event(one.seconds, one.guest, one.name, one.text) for one in list(self.timeline.events)]
        seconds = self.timeline.elapsed() if self._end is None else self._end
        last = self.record.last
        guests = [guest["name"] for guest in last.state["guests"]] if last else sorted({one.guest for one in happened})
        moment = None if last is None else _whole(last, happened)
        failed = [step for step in steps if step.wrong]
        return template("router.report", "run.html.j2").render(
            system=self.system,
            mode=self.mode,
            version=__version__,
            duration=rows.duration(seconds),
            wrong=safe_lines(wrong) if wrong else "",
            failed=failed,
            steps=steps,
            picture=Markup(run_svg(guests, self.record.points, happened, steps, seconds)),
            tables=_tables(moment, self.record),
            events=rows.events(happened[-MAX_ROWS:]),
            missing=max(0, len(happened) - MAX_ROWS),
        )


def _whole(moment: Moment, happened: Sequence[Event]) -> Moment:
    story = Story()
    for event in happened:
        story = story.after(event)
    return Moment(
        seconds=moment.seconds,
        state=moment.state,
        story=story,
        usb=moment.usb,
        looks=moment.looks,
        switch=moment.switch,
    )


def _tables(moment: Moment | None, record: Record) -> list[tuple[str, Table]]:
    """The tables with their anchors; none when the run ended before anything could be seen."""
    if moment is None:
        return []
    return [
        ("guests", rows.guests(moment)),
        ("devices", rows.devices(moment)),
        ("roads", rows.totals(list(record.roads.values()))),
        ("switch", _trimmed(rows.drops(moment))),
        ("policy", rows.policy(moment)),
    ]


def _trimmed(table: Table) -> Table:
    """Without the last columns in which no row has anything."""
    count = len(table.head)
    while table.rows and count > 1 and not any(row.cells[count - 1] for row in table.rows):
        count -= 1
    cut = tuple(replace(row, cells=row.cells[:count]) for row in table.rows)
    return replace(table, head=table.head[:count], rows=cut)
