# SPDX-License-Identifier: BSD-2-Clause
"""Systems of router in tests of labgrid's users: drivers and a strategy for an environment file.

    imports: [router.testing.labgrid]

labgrid has acquired the place here; nothing of ours acquires or releases it. The base classes, decorators and rules are
those of labgrid's drivers (its development manual, 26.0). docs/guide/labgrid.md
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import attr
from labgrid.driver import Driver
from labgrid.driver.commandmixin import CommandMixin
from labgrid.factory import target_factory
from labgrid.protocol import CommandProtocol, PowerProtocol
from labgrid.resource import SerialPort
from labgrid.step import step
from labgrid.strategy.common import Strategy, StrategyError, never_retry

from router.control.client import Connection
from router.deploy import holder_client, runner
from router.deploy.events import DeployEvent, Reporter
from router.deploy.job import DeployOptions, Job
from router.deploy.plan import DeployPlan, read_plan
from router.errors import DescriptionError, MachineError
from router.lab import file as lab
from router.lab.board import Board
from router.lab.labgrid.resources import url_of
from router.lab.lock import BoardLock
from router.lab.taken import Taken

COMMAND_TIMEOUT_S = 30.0


@target_factory.reg_driver
@attr.s(eq=False)
class RouterDriver(Driver):  # type: ignore[misc]
    """A system of router on the target's board: `boot` loads and starts it, `execute` runs commands in its guests.

    It uses the target's serial port, and its power and TFTP drivers where it has them; no other driver may read the
    serial port meanwhile.

    build: the build folder (`router build`), relative to the environment file. board: fields of a board as in a lab
    file (docs/reference/lab-file.md), without `serial` and `power`: {network: {…}}, for example. boot_timeout: seconds
    from the start to the last milestone (None: the plan's). log: a file that gets the raw console.
    """

    bindings: ClassVar[dict[str, Any]] = {
        "port": {"SerialPort", "NetworkSerialPort"},
        "power": {"PowerProtocol", None},
        "tftp": {"TFTPProviderDriver", None},
    }
    build: str = attr.ib(validator=attr.validators.instance_of(str))
    board: dict[str, Any] = attr.ib(factory=dict, validator=attr.validators.instance_of(dict))
    boot_timeout: float | None = attr.ib(default=None)
    log: str | None = attr.ib(default=None, validator=attr.validators.optional(attr.validators.instance_of(str)))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.milestones: list[tuple[str, float]] = []
        """Of the latest boot: names, and seconds since the start command."""
        self._connection: Connection | None = None

    def on_deactivate(self) -> None:
        """The serial port is free."""
        self._hang_up()

    @Driver.check_active  # type: ignore[untyped-decorator]
    @step()  # type: ignore[untyped-decorator]
    def boot(self) -> None:
        """Load the system and start it; a RouterError when a milestone of its boot does not come."""
        self._hang_up()
        self.milestones.clear()
        folder, plan = self._plan()
        files = {item.file: str(folder / item.file) for item in plan.payloads}
        options = DeployOptions(boot_seconds=self.boot_timeout, power=self.power is not None, log=self.log)
        board = self._board(plan)
        taken = Taken(
            board=board,
            actions=("on", "off", "cycle") if self.power is not None else (),
            switch=lambda action: getattr(self.power, action)(),
            stage=self._stage if self.tftp is not None else None,
        )
        job = Job(plan=plan, board=board, files=files, options=options)
        # The process that served `execute` has the line for some seconds more.
        with BoardLock(self.target.name, f"booting {plan.system}"):
            runner.bring_up(job, taken, Reporter(self._report))

    @Driver.check_active  # type: ignore[untyped-decorator]
    def execute(self, guest: str, command: str, timeout: float = COMMAND_TIMEOUT_S) -> tuple[int, bytes]:
        """Run a shell command in a guest: exit code and output. A RouterError when guest or board does not answer."""
        if self._connection is None:
            _, plan = self._plan()
            job = Job(plan=plan, board=self._board(plan), files={})
            self._connection = Connection(f"{plan.system} on {self.target.name}", holder_client.reach(job))
        try:
            return self._connection.execute(guest, command, timeout)
        except MachineError:
            self._hang_up()  # what the guest still prints belongs to no later command
            raise

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _plan(self) -> tuple[Path, DeployPlan]:
        folder = Path(self.build)
        if self.target.env is not None:
            folder = Path(self.target.env.config.resolve_path(self.build))
        return folder, read_plan(folder, ours=True)

    def _board(self, plan: DeployPlan) -> Board:
        taken = sorted({"serial", "power", "labgrid", "via"} & self.board.keys())
        if taken:
            raise DescriptionError(f"`{taken[0]}` of the board is the target's", "leave it out", where=self.target.name)
        serial = str(self.port.port) if isinstance(self.port, SerialPort) else url_of(self.port)
        return lab.entry(self.target.name, {"board": plan.board, "serial": serial, **self.board}, self.target.name)

    def _stage(self, files: Mapping[str, Path]) -> str:
        prefix = ""
        for name, path in files.items():
            # The driver names what it stages after the file, and ours are numbered.
            link = path.with_name(name)
            link.symlink_to(path)
            prefix = str(self.tftp.stage(str(link))).lstrip("/").removesuffix(name)
        return prefix

    def _report(self, event: DeployEvent) -> None:
        if event.kind == "milestone":
            self.milestones.append((str(event.data["name"]), float(event.data["seconds"])))
        if event.kind in ("done", "milestone"):
            self.logger.info("%s: %.2f s", event.data["name"], event.data["seconds"])
        elif event.kind in ("ask", "warning"):
            self.logger.warning("%s", event.data["text"])


@target_factory.reg_driver
@attr.s(eq=False)
class RouterGuestDriver(CommandMixin, Driver, CommandProtocol):  # type: ignore[misc]
    """A guest of the system as labgrid's CommandProtocol: `run`, `run_check`, `wait_for`, `poll_until_success`."""

    bindings: ClassVar[dict[str, Any]] = {"system": "RouterDriver"}
    guest: str = attr.ib(validator=attr.validators.instance_of(str))

    @Driver.check_active  # type: ignore[untyped-decorator]
    @step(args=["cmd"], result=True)  # type: ignore[untyped-decorator]
    def run(
        self, cmd: str, *, timeout: float = COMMAND_TIMEOUT_S, codec: str = "utf-8", decodeerrors: str = "strict"
    ) -> tuple[list[str], list[str], int]:
        """Lines of output (standard output and error are one stream in a guest), no further lines, the exit code."""
        return self._run(cmd, timeout=timeout, codec=codec, decodeerrors=decodeerrors)

    def _run(self, cmd: str, *, timeout: float, codec: str, decodeerrors: str) -> tuple[list[str], list[str], int]:
        code, output = self.system.execute(self.guest, cmd, timeout)
        return output.decode(codec, decodeerrors).splitlines(), [], code

    def get_status(self) -> int:
        """1: it takes commands."""
        return 1


class Status(enum.Enum):
    """States of RouterStrategy."""

    unknown = 0
    off = 1
    up = 2


@target_factory.reg_driver
@attr.s(eq=False)
class RouterStrategy(Strategy):  # type: ignore[misc]
    """Brings a target into one of the states `off` (where it has a power driver) and `up`: every milestone was seen."""

    bindings: ClassVar[dict[str, Any]] = {"system": "RouterDriver", "power": {"PowerProtocol", None}}
    status: Status = attr.ib(default=Status.unknown)

    @never_retry  # type: ignore[untyped-decorator]
    @step(args=["status"])  # type: ignore[untyped-decorator]
    def transition(self, status: Any, *, step: Any) -> None:
        """Go to a state, by a power cycle and a boot where that is `up`."""
        wanted = _status(status)
        if wanted == self.status:
            step.skip("nothing to do")
            return
        if wanted == Status.off:
            self.target.deactivate(self.system)
            self._power().off()
        else:
            self.target.activate(self.system)
            self.system.boot()
        self.status = wanted

    @never_retry  # type: ignore[untyped-decorator]
    @step(args=["status"])  # type: ignore[untyped-decorator]
    def force(self, status: Any) -> None:
        """Believe that the target is in a state: what runs there is the system of the build."""
        wanted = _status(status)
        if wanted == Status.up:
            self.target.activate(self.system)
        else:
            self.target.deactivate(self.system)
        self.status = wanted

    def _power(self) -> PowerProtocol:
        if self.power is None:
            raise StrategyError("this target has no power driver, so it cannot be switched off")
        self.target.activate(self.power)
        return self.power


def _status(status: Any) -> Status:
    found = status if isinstance(status, Status) else Status.__members__.get(status)
    if found is None or found == Status.unknown:
        raise StrategyError(f"no state to go to: {status} (off or up)")
    return found


__all__ = ["RouterDriver", "RouterGuestDriver", "RouterStrategy", "Status"]
