# SPDX-License-Identifier: BSD-2-Clause
"""What all running systems share, in QEMU or on a board: guests with consoles and agents, a time line.

Standard library only: it runs on lab hosts as well.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from router.console.consoles import Console, Lines
from router.console.serial_line import SYSTEM, SerialLine, control, ports
from router.console.silence import DEAD
from router.control import milestones
from router.control.facts import SystemFacts
from router.control.milestones import MAX_LINE
from router.control.system import BUSY, UsbPorts
from router.control.timeline import Timeline
from router.errors import MachineError
from router.machines.agent import AgentChannel
from router.machines.clock import CLOCK_COMMAND_TIMEOUT_S, CLOCK_TIMEOUT_S, ClockSetter, clock_command
from router.machines.switch_rows import row_of

FAULT_TIMEOUT_S = 0.5
"""The further lines of a fault come within so many seconds."""
MAX_FAULT_LINES = 16
CHECK_S = 0.5
"""While lines come without pause, whether everything still runs is looked at this often."""
GREETING_TRY_S = 0.5
"""An agent that does not answer is asked for so long at a time, and others may use the guest in between."""
GREETING_PAUSE_S = 0.2
RESTARTS = ("kernel", "userspace", "stopped", "restarting", "started")
"""Milestones after which the agent that greeted before is gone."""
COUNTS_TIMEOUT_S = 20.0
"""For the counters of one guest: an answer of four frames takes 0.1 s at 115,200 baud, and a second where a command's
output has the line."""
MAX_PUMPED = 1000
"""Lines taken at a time by a thread that has other work: guests may print faster than lines are looked at."""


@dataclass(kw_only=True)
class LiveGuest:
    """One guest of a running system."""

    consoles: tuple[Console, ...]
    """Where its lines come from; people type into the last one."""
    agent: AgentChannel
    heard: float = field(default_factory=time.monotonic)
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Held by the thread that uses the agent: one command at a time."""

    @property
    def console(self) -> Console:
        """The console for people."""
        return self.consoles[-1]

    def tail(self) -> list[str]:
        """The last lines, oldest first."""
        return [line for console in self.consoles for line in tuple(console.tail)][-12:]


G = TypeVar("G", bound=LiveGuest)


class LiveSystem(ABC, Generic[G]):
    """A running system, as a context: leaving it ends every thread and closes every socket that it had.

    One thread runs it (`poll`); others may call everything else.
    """

    def __init__(self, facts: SystemFacts, logs: Path, timeline: Timeline) -> None:
        self.facts = facts
        self.timeline = timeline
        self.guests: dict[str, G] = {}
        self.usb: UsbPorts | None = None
        """Where emulated devices can be plugged in while it runs."""
        self._logs = logs
        self._line: SerialLine | None = None
        self._lines = Lines()
        self._reading = threading.Lock()
        self._checked = time.monotonic()
        """When `_check_alive` was last asked."""
        self._stack = ExitStack()
        self._fault: list[str] = []
        self._fault_seen = 0.0
        self._clocks = ClockSetter(facts.names, lambda guest, over: self.set_clock(guest, CLOCK_TIMEOUT_S, over))

    def __enter__(self) -> Self:
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            ours = {"system", "serial", "qemu", "vswitch", *self.facts.names}
            for old in (*self._logs.glob("*.log"), *self._logs.glob("*.log.1")):
                if old.name.split(".")[0] in ours:  # the folder may be one that the user keeps other logs in
                    old.unlink()
            self._start()
            self._clocks.start()
            self._stack.callback(self._clocks.close)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @abstractmethod
    def _start(self) -> None:
        """Start everything; what must end with the system goes on `_stack`."""

    def switch_counters(self) -> dict[str, dict[str, Any]] | None:
        """The switch's counters by guest: here it is a protection domain, and the console says what it has counted.

        None without a line that all guests share. MachineError when the console does not answer.
        """
        if self._line is None:
            return None
        rows = {}
        for index, guest in enumerate(self.facts.names):
            rows[guest] = row_of(self._line.counts(index, COUNTS_TIMEOUT_S))
        return rows

    @abstractmethod
    def _check_alive(self) -> None:
        """MachineError when a part of the machine that must not end has ended."""

    # Consoles

    def _read(self, name: str, stream: socket.socket, log: str) -> Console:
        """Read a console in a thread of its own, into `log` of the log folder."""
        reader = Console(name, stream, self._logs / f"{log}.log", self._lines)
        reader.start()
        self._stack.callback(reader.close)
        return reader

    def _share(self, stream: socket.socket, guests: Sequence[str], *, running: bool = False) -> SerialLine:
        """All consoles and control channels are on this one line; running: since before we listened to it."""
        line = SerialLine(stream, ports(guests), control(guests[0]), self._logs / "serial.log", running=running)
        line.start()
        self._stack.callback(line.close)
        self._line = line
        self._read(SYSTEM, line.port(None), "system")
        return line

    def _on_line(self, guest: str) -> tuple[Console, AgentChannel]:
        """A guest's console and control channel on the shared line."""
        assert self._line is not None, "the line is shared first"
        console = self._read(guest, self._line.port(guest), f"{guest}.console")
        line, name = self._line, control(guest)
        agent = AgentChannel(
            line.port(name), guest, lambda: line.lost(name), lambda expected: line.expect_answer(name, expected)
        )
        return console, agent

    def give_keyboard(self, guest: str | None) -> None:
        """Show a guest's console as a person who types there needs it; None: nobody types.

        Nothing to do where each guest has a line of its own.
        """
        if self._line is not None:
            self._line.give_keyboard(guest)

    def listen(self, guest: str, echo: Callable[[bytes], None]) -> None:
        """Also hand every byte of a guest's consoles to `echo` from now on, from another thread."""
        for console in self.guests[guest].consoles:
            console.listen(echo)

    def unlisten(self, guest: str, echo: Callable[[bytes], None]) -> None:
        """End that."""
        for console in self.guests[guest].consoles:
            console.unlisten(echo)

    def type_in(self, guest: str, data: bytes) -> None:
        """Type into a guest's console."""
        self.guests[guest].console.send(data)

    # Lines

    def poll(self, seconds: float) -> bool:
        """Take one console line, if one comes within `seconds`. MachineError when a guest has ended."""
        with self._reading:
            taken = self._take(seconds)
        if not taken or time.monotonic() > self._checked + CHECK_S:
            self._checked = time.monotonic()
            self._check_alive()
        return taken

    def pump(self) -> bool:
        """Take the console lines that have come, at most MAX_PUMPED: whether there may be more.

        Nothing is done, and False given, while another thread takes them. Any thread may call it.
        """
        if not self._reading.acquire(blocking=False):
            return False
        try:
            return all(self._take(0) for _ in range(MAX_PUMPED))
        finally:
            self._reading.release()

    def check(self) -> None:
        """Take the lines that have come, as `pump`. MachineError when a guest has ended. Any thread may call it."""
        self.pump()
        self._check_alive()

    def _take(self, seconds: float) -> bool:
        found = self._lines.take(seconds)
        if found is None:
            return False
        source, line = found
        if source in self.guests:
            self.guests[source].heard = time.monotonic()
            event = self.timeline.line(source, line)
            if event is not None and event.name in RESTARTS:
                self.guests[source].agent.forget()
            if event is not None and event.name == "userspace":
                self._clocks.guest_is_up(source)
        else:
            self._other_line(line)
        return True

    def _other_line(self, line: str) -> None:
        """A line of the loader, the kernel or the monitor."""
        line = line[:MAX_LINE]
        for stage in milestones.SYSTEM:
            if re.search(stage.pattern, line) and not self.timeline.seen(SYSTEM, stage.name):
                self.timeline.add(SYSTEM, stage.name, "", stage.text)
        if self._fault or re.search(milestones.SYSTEM_FAILURE, line):
            self._fault_seen = self._fault_seen or time.monotonic()
            self._fault = [*self._fault, line][:MAX_FAULT_LINES]

    def stage(self, guest: str) -> str:
        """How far a guest has come, for an error."""
        seen = [event for event in self.timeline.events if event.guest == guest]
        if seen:
            return f"the last that was seen of it: {seen[-1].text}"
        if self._line is not None and not self._line.heard:
            return "not even the console multiplexer has said anything: the loader or the kernel hangs, or its domain"
        return "nothing was seen of it"

    def _check_fault(self) -> None:
        """MachineError with what the kernel, the monitor or the console multiplexer has said of a fault.

        Also when the multiplexer itself answers no more, after it has.
        """
        if self._line is not None and self._line.heard and self._line.dead:
            raise MachineError(
                DEAD,
                hint=f"with 'config: debug' a fault is printed; logs: {self._logs}",
            )
        if self._fault and time.monotonic() > self._fault_seen + FAULT_TIMEOUT_S:
            shown = "\n".join(f"    {line}" for line in self._fault)
            raise MachineError(
                f"a protection domain or the kernel has failed: {self._fault[0].strip()}",
                hint=f"it said:\n{shown}\n  logs: {self._logs}",
            )

    # Commands

    def execute(
        self,
        guest: str,
        command: str,
        timeout: float,
        on_output: Callable[[bytes], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> tuple[int, bytes]:
        """Run a shell command in a guest: its exit code and output. Any thread may; a guest runs one at a time.

        on_output gets the output as it appears, and none of it is returned then. Waiting for one's turn counts.
        MachineError after `timeout` seconds or once `cancelled` says so.
        """
        end = time.monotonic() + timeout
        with self._turn(guest, timeout, cancelled) as agent:
            result = agent.run(command, max(0.1, end - time.monotonic()), on_output, cancelled)
        # Not `poll`: the main thread spends its time there and holds the lock.
        self.check()
        return result

    @contextmanager
    def _turn(self, guest: str, timeout: float, cancelled: Callable[[], bool] | None = None) -> Iterator[AgentChannel]:
        """The guest's agent for this thread alone; MachineError when others have it for `timeout` seconds."""
        turn = self.guests[guest].turn
        end = time.monotonic() + timeout
        while not turn.acquire(timeout=0.2):
            if time.monotonic() > end or (cancelled is not None and cancelled()):
                raise MachineError(f"guest '{guest}' {BUSY}", hint="try again, or wait longer")
        try:
            yield self.guests[guest].agent
        finally:
            turn.release()

    def wait_for_agent(self, guest: str, timeout: float, cancelled: Callable[[], bool]) -> bool:
        """Whether the guest's agent answers within `timeout` seconds, or until `cancelled` says so.

        A silent agent keeps no one from its guest: it is asked for a moment at a time.
        """
        end = time.monotonic() + timeout
        while not cancelled() and (left := end - time.monotonic()) > 0:
            with suppress(MachineError), self._turn(guest, GREETING_TRY_S, cancelled) as agent:
                agent.hello(min(GREETING_TRY_S, left), cancelled)
                return True
            time.sleep(GREETING_PAUSE_S)
        return False

    def set_clock(self, guest: str, timeout: float, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Set a guest's clock from this computer's; False when its agent does not answer within `timeout` seconds, or
        says that it could not. MachineError when it stops answering. Any thread may."""
        if not self.wait_for_agent(guest, timeout, cancelled):
            return False
        with self._turn(guest, timeout, cancelled) as agent:
            # The time is taken when the command goes out.
            code, _ = agent.run(lambda: clock_command(time.time()), CLOCK_COMMAND_TIMEOUT_S, cancelled=cancelled)
        return code == 0
