# SPDX-License-Identifier: BSD-2-Clause
"""A system on a board of the lab file for tests: deployed, and held by a connection until it is stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from router import files
from router.control.client import Connection
from router.deploy.bring_up import bring_up, connections, empty_job
from router.deploy.events import DeployEvent, Reporter
from router.deploy.job import DeployOptions, Job
from router.deploy.plan import read_plan
from router.deploy.prepare import make
from router.deploy.state import state_folder
from router.errors import DescriptionError, HostError, MachineError
from router.lab import file as lab
from router.pipeline.inputs import Planned
from router.testing.setup import BOARD, Setup
from router.vswitch.process import PortCounters, counters_of


class BoardMachine:
    """The system on the board. A connection that watches it (router.testing.events) keeps the board for us."""

    mode = BOARD

    def __init__(self, setup: Setup, planned: Planned, logs: Path) -> None:
        """Build and deploy. A RouterError when it does not come up."""
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        if workers > 1:
            raise DescriptionError(
                f"a board runs one system, and {workers} workers of pytest-xdist want one each",
                hint="leave out -n for tests on a board",
                where=setup.on,
            )
        folder = (setup.build or Path("build") / planned.plan.name).absolute()
        if planned.sdk is None:
            raise HostError("there is no loader.img to deploy: making one needs a Microkit SDK", "router sdk install")
        file = lab.find(setup.lab, setup.description.parent)
        listed = lab.load(file)  # before anything is built: it may need the user's agreement
        make(planned, folder, lambda _: None)
        plan = read_plan(folder, ours=True)
        found = lab.choose(listed, setup.on, plan.board, file.path)
        if plan.facts is None:
            raise DescriptionError(f"the system '{plan.system}' shares no serial line", where=setup.on)
        logs.mkdir(parents=True, exist_ok=True)
        self.name = found.board.name
        self.guests = plan.facts.names
        self._log = logs / f"console-{self.name}.log"
        self._local = found.via is None
        self._milestones: list[tuple[str, float]] = []
        self._stack = ExitStack()
        options = DeployOptions(boot_seconds=setup.boot_timeout, log=str(self._log.absolute()))
        paths = {item.file: str(folder / item.file) for item in plan.payloads}
        bring_up(found.via, Job(plan=plan, board=found.board, files=paths, options=options), self._report(), self._log)
        self.boot = tuple(self._milestones)
        job = empty_job(found, plan=plan)
        self._connect = self._stack.enter_context(connections(found.via, job, f"{plan.system} on {self.name}"))

    def _report(self) -> Reporter:
        def take(event: DeployEvent) -> None:
            if event.kind == "milestone":
                self._milestones.append((str(event.data["name"]), float(event.data["seconds"])))

        return Reporter(take)

    @property
    def attachments(self) -> tuple[Path, ...]:
        # The process that serves the board writes the consoles, on the computer that the board is wired to.
        logs = sorted((state_folder(self.name) / "logs").glob("*.log")) if self._local else []
        return tuple(path for path in (self._log, *logs) if files.has_content(path))

    def connect(self) -> Connection:
        return self._connect()

    def check(self) -> None:
        with self.connect() as connection:
            connection.state()

    def freeze(self, guest: str) -> None:
        raise MachineError("a board cannot be stopped from outside", where=guest)

    def thaw(self, guest: str) -> None:
        raise MachineError("a board cannot be stopped from outside", where=guest)

    def reset(self, guest: str) -> None:
        raise MachineError("the guests of a board have no reset button", where=guest)

    def kill(self, guest: str) -> None:
        raise MachineError("the guests of a board have one power supply", where=guest)

    def counters(self) -> Mapping[str, PortCounters]:
        with self.connect() as connection:
            return counters_of(connection.switch())

    def stop(self) -> None:
        self._stack.close()
