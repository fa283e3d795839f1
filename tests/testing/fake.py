# SPDX-License-Identifier: BSD-2-Clause
"""A machine for the plugin's tests: the real control socket of a system that runs nothing (tests.control.running)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from router.control.client import Connection
from router.control.place import Claim, own_name
from router.control.server import ControlServer
from router.errors import MachineError
from router.pipeline.inputs import Planned
from router.testing.setup import Setup
from router.vswitch.process import PortCounters
from tests.control.running import FakeSystem

CAPTURED = b"\x0a\x0d\x0d\x0a captured"


class FakeMachine:
    """Boots at once. `die`: as a guest's panic has it."""

    boot = (("server userspace", 1.5), ("client userspace", 2.25))

    def __init__(self, mode: str, logs: Path, capture: bool = False) -> None:
        self.mode = mode
        self.name = own_name("desk")
        self.system = FakeSystem()
        self.guests = self.system.facts.names
        self.frozen: list[str] = []
        self.dead: str | None = None
        logs.mkdir(parents=True)
        self._console = logs / "client.console.log"
        self._console.write_text("\x1b[2Jbooted\nlogin:\n")
        self._capture = logs / "switch.pcapng" if capture else None
        if self._capture is not None:
            self._capture.write_bytes(CAPTURED)
        self._stack = ExitStack()
        claim = self._stack.enter_context(Claim(self.name))
        self._stack.enter_context(ControlServer(claim, self.system, mode))

    @property
    def attachments(self) -> tuple[Path, ...]:
        return (self._console, *([self._capture] if self._capture else ()))

    def connect(self) -> Connection:
        return Connection(self.name)

    def check(self) -> None:
        if self.dead is not None:
            raise MachineError(f"guest 'client' is gone: {self.dead}", hint="its console ended with:\n    oops")

    def die(self, why: str) -> None:
        self.dead = why

    def freeze(self, guest: str) -> None:
        self.frozen.append(guest)

    def thaw(self, guest: str) -> None:
        self.frozen.remove(guest)

    def reset(self, guest: str) -> None:
        """Starts anew at once."""
        self.system.timeline.line(guest, f"router: guest {guest}: userspace up")

    def kill(self, guest: str) -> None:
        self.die(f"{guest} was killed")

    def counters(self) -> Mapping[str, PortCounters]:
        raise MachineError("a machine that runs nothing has no switch")

    def stop(self) -> None:
        self._stack.close()


class Boots:
    """Stands in for `router.testing.pool.start`. failures: why the next boots do not come up, first first."""

    def __init__(self) -> None:
        self.machines: list[FakeMachine] = []
        self.setups: list[Setup] = []
        self.failures: list[str] = []

    def start(self, setup: Setup, planned: Planned, mode: str, logs: Path) -> FakeMachine:
        self.setups.append(setup)
        if self.failures:
            raise MachineError(self.failures.pop(0), hint="its console ended with:\n    oops")
        self.machines.append(FakeMachine(mode, logs, setup.capture))
        return self.machines[-1]
