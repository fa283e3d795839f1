# SPDX-License-Identifier: BSD-2-Clause
"""One run of pytest: gives tests the system, watches that they leave it alive, and reports what it said when they fail.

`router.pytest_plugin` calls this once a test wants a system, and imports it not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.errors import MachineError
from router.testing import evidence
from router.testing.names import folder_name
from router.testing.needs import missing
from router.testing.person import Person
from router.testing.pool import Systems
from router.testing.setup import Setup
from router.testing.system import Router


class SystemDied(MachineError):
    """The system has ended in the test."""


class Session:
    """What the tests of this process share."""

    def __init__(self, config: pytest.Config, folder: Path, report: Path | None = None) -> None:
        """folder, report: for logs and, if wanted, for pages of systems; of this process alone."""
        self._folder = folder
        self._person = Person(_say_on(config))
        self.systems = Systems(folder, report)

    def provide(self, item: pytest.Item, setup: Setup, folder: Callable[[], Path]) -> Iterator[Router]:
        """The fixture: the running system for a test, which is skipped where it needs what the system does not have."""
        for mark in item.iter_markers("router_needs"):
            for need in mark.args:
                why = missing(need, self.systems.mode(setup), self._person.present)
                if why is not None:
                    pytest.skip(why)
        fresh = item.get_closest_marker("router_fresh") is not None
        before = self.systems.live
        live = self.systems.obtain(setup, fresh=fresh)
        if live is not before:
            self._note_boot(item)
        live.fresh = False
        router = Router(self.systems, live, folder, self._person)
        try:
            yield router
        finally:
            left = router.tidy() if self.systems.ended() is None else []
            if fresh:
                self.systems.close()
            if left:
                if self.systems.live is not None:
                    self.systems.live.spoiled = True
                listed = "\n  ".join(left)
                raise MachineError("what the test plugged in is not out; the next test gets a new system", listed)

    def _note_boot(self, item: pytest.Item) -> None:
        """The boot's durations are properties of the test that waited for it."""
        assert self.systems.live is not None, "it has just come up"
        machine = self.systems.live.machine
        item.user_properties.append(("router.mode", machine.mode))
        for name, seconds in machine.boot:
            item.user_properties.append((f"router.boot.{name.replace(' ', '.')}", f"{seconds:.2f}"))

    def check(self, failed: BaseException | None) -> None:
        """After a test: SystemDied when the system has ended in it. A test that failed anyway gets a note."""
        ended = self.systems.ended() if self.systems.live is not None else None
        if ended is None:
            return
        if failed is None:
            raise SystemDied(f"the system has ended in this test: {ended.message}", ended.hint, ended.where)
        if ended.message not in str(failed):
            failed.add_note(f"the system has ended in this test: {ended}")

    def note(self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        """A test becomes a step on the page of the system that it has used: its call, and what else of it failed."""
        page = self.systems.live.page if self.systems.live is not None else None
        if page is not None and (report.when == "call" or report.failed):
            error = call.excinfo if report.failed else None
            wrong = "" if error is None else error.exconly().partition("\n")[0]
            name = item.nodeid if report.when == "call" else f"{item.nodeid} ({report.when})"
            page.step(name, call.duration, wrong)

    def report(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """A failed test's report gets what the system has said; its files become properties of the JUnit report."""
        live = self.systems.live
        if live is None:
            return
        folder = self._folder / folder_name(item.nodeid)
        saved, troubles = evidence.save(live, folder)
        for path in saved:
            item.user_properties.append((f"router.{path.stem}", str(path.absolute())))
        listed = "\n".join(f"[[ATTACHMENT|{path.absolute()}]]" for path in saved)
        for title, text in (*evidence.sections(live), ("files", "\n".join([*filter(None, [listed]), *troubles]))):
            report.sections.append((f"router: {title}", text))
            # The JUnit report takes what was captured until the end of the test.
            item.add_report_section(report.when or "call", f"stdout (router: {title})", f"--- {title} ---\n{text}\n")


def _say_on(config: pytest.Config) -> Callable[[str], None] | None:
    """Shows a line to the person at the terminal; None without `--router-interactive`."""
    if not config.getoption("router_interactive") or hasattr(config, "workerinput"):
        return None
    capture = config.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}", flush=True)

    return say
