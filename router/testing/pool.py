# SPDX-License-Identifier: BSD-2-Clause
"""The system that the tests of one process use: booted when the first test wants it, anew when it has died.

There is one at a time. A test that is about another system ends the one before.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from router import files
from router.description.load import load
from router.display import safe
from router.errors import MachineError, RouterError, reason
from router.machines.qemu.mode import choose_mode
from router.pipeline.inputs import Planned, plan_loaded
from router.testing.board import BoardMachine
from router.testing.events import Events
from router.testing.machine import Machine
from router.testing.qemu import QemuMachine
from router.testing.report import SystemPage
from router.testing.setup import BOARD, Setup

AGAIN = "(it was tried once, and not again)"


class Live:
    """A system that is up. fresh: no test has used it yet. spoiled: no further test may use it."""

    def __init__(self, setup: Setup, machine: Machine, report: Path | None = None, boot: int = 1) -> None:
        """report: the folder for its page; None: none is kept. boot: its number in this process."""
        self.setup = setup
        self.machine = machine
        self.fresh = True
        self.spoiled = False
        self.events = Events(machine.connect)
        self.page: SystemPage | None = None
        if report is not None:
            try:
                self.page = SystemPage(report, boot, machine, self.events)
            except BaseException:
                self.close()
                raise

    def ended(self) -> RouterError | None:
        """Why it does not run any more, or None while it does."""
        try:
            self.machine.check()
        except RouterError as error:
            return error
        return None

    def close(self) -> None:
        """End it, and write its page."""
        ended = self.ended()
        try:
            if self.page is not None:
                self.page.look_last()
        finally:
            self.events.close()
            self.machine.stop()
        if self.page is not None:
            try:
                self.page.write(str(ended or ""))
            except OSError as error:
                # The tests have had their results: what is missing is said at the end of the run.
                warnings.warn(f"router: {safe(str(self.page.path))} is not written: {reason(error)}", stacklevel=2)


class Systems:
    """Boots systems and ends them. folder: where each boot gets a folder for its logs. report: for pages, if wanted."""

    def __init__(self, folder: Path, report: Path | None = None) -> None:
        self.live: Live | None = None
        self._folder = folder
        self._report = report
        self._boots = itertools.count(1)
        self._planned: dict[Setup, Planned] = {}
        self._failed: dict[Setup, RouterError] = {}

    def mode(self, setup: Setup) -> str:
        """split, microkit or board: known without a boot. RouterError when the description is wrong."""
        return BOARD if setup.on_board else choose_mode(setup.on, self._plan(setup))

    def obtain(self, setup: Setup, *, fresh: bool = False) -> Live:
        """The system, up. fresh: no test has used it.

        RouterError when it does not come up: then and, without another boot, whenever it is wanted again.
        """
        self._fail_again(setup)
        live = self.live
        if live is not None and (live.setup != setup or live.spoiled or (fresh and not live.fresh)):
            self.close()
        if self.live is None or self.ended() is not None:
            self.close()
            self._boot(setup)
        assert self.live is not None, "booted, or an error"
        return self.live

    def restart(self) -> Live:
        """End the system and boot it again."""
        assert self.live is not None, "a test has it"
        setup = self.live.setup
        self.close()
        self._boot(setup)
        return self.live

    def ended(self) -> RouterError | None:
        """Why the system does not run any more, or None while it does."""
        if self.live is None:
            return MachineError("the system was stopped")
        return self.live.ended()

    def close(self) -> None:
        """End the system, if there is one."""
        if self.live is not None:
            live, self.live = self.live, None
            live.close()

    def _boot(self, setup: Setup) -> None:
        boot = next(self._boots)
        with self._remembering(setup):
            machine = start(setup, self._plan(setup), self.mode(setup), self._folder / f"boot-{boot}")
            self.live = Live(setup, machine, self._report, boot)

    def _plan(self, setup: Setup) -> Planned:
        self._fail_again(setup)
        if setup not in self._planned:
            with self._remembering(setup):
                self._planned[setup] = plan(setup)
        return self._planned[setup]

    @contextmanager
    def _remembering(self, setup: Setup) -> Iterator[None]:
        """A RouterError within is what every later test of the setup gets."""
        try:
            yield
        except RouterError as error:
            self._failed[setup] = error
            raise

    def _fail_again(self, setup: Setup) -> None:
        """Raise the error of before, the same object: its kind may have more in it than a message."""
        error = self._failed.get(setup)
        if error is not None:
            if AGAIN not in getattr(error, "__notes__", ()):
                error.add_note(AGAIN)
            raise error.with_traceback(None)


def plan(setup: Setup) -> Planned:
    """Read, plan and check the description."""
    return plan_loaded(load(setup.description), files.cache_folder(), lambda _: None, emulated=not setup.on_board)


def start(setup: Setup, planned: Planned, mode: str, logs: Path) -> Machine:
    """Build and boot."""
    if mode == BOARD:
        return BoardMachine(setup, planned, logs)
    return QemuMachine(setup, planned, mode, logs)
