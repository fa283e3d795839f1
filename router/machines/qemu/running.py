"""What every run in QEMU has in common: guests with consoles and control channels, a time line, being ready."""

from __future__ import annotations

import queue
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from router.errors import MachineError
from router.guests.agent import AgentChannel
from router.machines.consoles import Console
from router.machines.process import Child
from router.machines.qemu.hotplug import UsbSockets
from router.machines.qemu.qmp import Qmp
from router.machines.qemu.usb import UsbPlug, granted_to
from router.machines.timeline import Timeline
from router.plan.models import GuestPlan, SystemPlan

QUIET = 60.0
"""Seconds without a single console line, before everything is up, after which a guest counts as hung."""
SETTLE = r"""
n=0
while [ $n -lt 60 ]; do
  disks=0; for d in /sys/block/sd*; do [ -e "$d" ] && disks=$((disks+1)); done
  [ $disks -ge {disks} ] && exit 0
  n=$((n+1)); sleep 0.25
done
exit 1
"""


@dataclass
class RunningGuest:
    """One guest of a run. Guests of one QEMU share `child` and `qmp`."""

    plan: GuestPlan
    child: Child
    consoles: tuple[Console, ...]
    """Where its lines come from; people type into the last one."""
    agent: AgentChannel
    qmp: Qmp
    heard: float = field(default_factory=time.monotonic)
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Held by the thread that uses the agent: one command at a time."""

    @property
    def console(self) -> Console:
        """The console for people."""
        return self.consoles[-1]

    def tail(self) -> list[str]:
        """The last lines, oldest first."""
        return [line for console in self.consoles for line in console.tail][-12:]

    def attach(self, echo: Callable[[bytes], None] | None) -> None:
        """Also hand every byte of the consoles to `echo` from now on; None ends that."""
        for console in self.consoles:
            console.attach(echo)


def listen(path: Path) -> socket.socket:
    """A unix socket that QEMU will connect to."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen(1)
    server.settimeout(10)
    return server


def accept(server: socket.socket, child: Child) -> socket.socket:
    """The connection of a child to our socket; MachineError when it ends before or takes more than 15 s."""
    end = time.monotonic() + 15
    server.settimeout(0.1)
    while True:
        try:
            stream, _ = server.accept()
            stream.settimeout(None)
            return stream
        except TimeoutError:
            if child.ended() is not None or time.monotonic() > end:
                raise MachineError(
                    f"{child.name} did not start: {child.errors()}", hint=f"its log: {child.log}"
                ) from None


class Run(ABC):
    """A running system, as a context: leaving it ends every process, closes every socket, removes temporary files.

    One thread runs it (`wait_ready`, `poll`); others may call `execute` and `pump`.
    """

    how: ClassVar[str]
    """The word for this way of running."""

    def __init__(self, plan: SystemPlan, logs: Path, timeline: Timeline, plugs: tuple[UsbPlug, ...] = ()) -> None:
        self.plan = plan
        self.timeline = timeline
        self.guests: dict[str, RunningGuest] = {}
        self._logs = logs
        self._plugs = plugs
        self.usb: UsbSockets | None = None
        """Where emulated devices can be plugged in while it runs."""
        self._lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self._reading = threading.Lock()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._logs.mkdir(parents=True, exist_ok=True)
            for old in self._logs.glob("*.log"):
                old.unlink()
            self._start()
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
        """Start everything; what must end with the run goes on `_stack`."""

    @abstractmethod
    def _check_alive(self) -> None:
        """MachineError when a part of the machine that must not end has ended."""

    def _other_line(self, source: str, line: str) -> None:
        """A line that is no guest's: a machine may be interested."""
        return

    def give_keyboard(self, guest: str) -> None:
        """Show a guest's console as somebody who types there needs it; nothing to do where each has its own line."""
        return

    def _read(self, name: str, stream: socket.socket, log: str) -> Console:
        """Read a console in a thread of its own, into `log` of the log folder."""
        reader = Console(name, stream, self._logs / f"{log}.log", self._lines)
        reader.start()
        self._stack.callback(reader.close)
        return reader

    def expected(self) -> dict[str, int]:
        """How many devices each client will get of those that are plugged in."""
        wanted: dict[str, int] = {}
        for _, guest in self.routed():
            wanted[guest] = wanted.get(guest, 0) + 1
        return wanted

    def routed(self) -> list[tuple[UsbPlug, str]]:
        """The devices that reach a client, each with the client: granted, and of a speed that its controller has."""
        pairs = [(plug, granted_to(plug, self.plan.grants)) for plug in self._plugs]
        return [
            (plug, guest)
            for plug, guest in pairs
            if guest is not None and not (plug.facts.superspeed and self.plan.guest(guest).usb_version < 3)
        ]

    def poll(self, seconds: float) -> bool:
        """Take one console line, if one comes within `seconds`. MachineError when a guest has ended."""
        with self._reading:
            if self._take(seconds):
                return True
        self._check_alive()
        return False

    def pump(self) -> None:
        """Take the console lines that have come, unless another thread does: for one beside that which runs it all."""
        if self._reading.acquire(blocking=False):
            try:
                while self._take(0):
                    pass
            finally:
                self._reading.release()

    def _take(self, seconds: float) -> bool:
        try:
            source, line = self._lines.get(timeout=seconds) if seconds else self._lines.get_nowait()
        except queue.Empty:
            return False
        if source in self.guests:
            self.guests[source].heard = time.monotonic()
            self.timeline.line(source, line)
        else:
            self._other_line(source, line)
        return True

    def _last_lines(self, guest: RunningGuest) -> str:
        shown = "\n".join(f"    {line}" for line in guest.tail()) or "    (nothing)"
        return f"its console ended with:\n{shown}\n  logs: {self._logs}"

    def ready(self) -> list[str]:
        """What is still missing, as sentences; empty when every guest is up and every routed device is attached."""
        missing = []
        wanted = self.expected()
        for guest in self.plan.guests:
            if not self.timeline.seen(guest.name, "userspace"):
                missing.append(f"guest '{guest.name}' is not up")
            if guest.role == "server" and not self.timeline.seen(guest.name, "listening"):
                missing.append(f"the USB/IP daemon of '{guest.name}' does not listen")
            attached = len({event.detail for event in self.timeline.seen(guest.name, "attached")})
            if attached < wanted.get(guest.name, 0):
                missing.append(f"guest '{guest.name}' has {attached} of {wanted[guest.name]} devices")
        return missing

    def wait_ready(self, timeout: float) -> None:
        """Until `ready()` is empty and the disks are block devices; MachineError after `timeout` seconds or silence."""
        end = time.monotonic() + timeout
        while missing := self.ready():
            self.poll(0.2)
            now = time.monotonic()
            quiet = [g for g in self.guests.values() if now - g.heard > QUIET]
            if quiet and self.timeline.seen(quiet[0].plan.name, "userspace"):
                quiet = []
            gone = [g for g in self.guests.values() if self._stays_down(g)]
            if now > end or quiet or gone:
                guest = (gone or quiet or [self._suspect(missing)])[0]
                name = guest.plan.name
                what = f"guest '{name}' went quiet" if quiet else f"not up after {timeout:.0f} s"
                what = f"guest '{name}' is down" if gone else what
                raise MachineError(f"{what}: {'; '.join(missing)}", hint=self._last_lines(guest))
        disks: dict[str, int] = {}
        for plug, to in self.routed():
            if 8 in plug.facts.classes:
                disks[to] = disks.get(to, 0) + 1
        for name, count in disks.items():
            code, _ = self.execute(name, SETTLE.replace("{disks}", str(count)), max(5.0, end - time.monotonic()))
            if code:
                raise MachineError(
                    f"guest '{name}': {count} disks are attached, but not all became block devices",
                    hint=self._last_lines(self.guests[name]),
                )
            self.timeline.add(name, "disk", str(count), f"{count} disk{'s' if count > 1 else ''} ready")

    def _stays_down(self, guest: RunningGuest) -> bool:
        """Whether a guest has stopped and its monitor leaves it so."""
        return bool(self.timeline.seen(guest.plan.name, "stopped")) and guest.plan.on_exit != "restart"

    def _suspect(self, missing: list[str]) -> RunningGuest:
        return next((g for n, g in self.guests.items() if f"'{n}'" in missing[0]), next(iter(self.guests.values())))

    def execute(
        self,
        guest: str,
        command: str,
        timeout: float,
        on_output: Callable[[bytes], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> tuple[int, bytes]:
        """Run a shell command in a guest: its exit code and output. Any thread may; a guest runs one at a time.

        Waiting for one's turn counts. MachineError after `timeout` seconds or once `cancelled` says so.
        """
        running = self.guests[guest]
        end = time.monotonic() + timeout
        while not running.turn.acquire(timeout=0.2):
            if time.monotonic() > end or (cancelled is not None and cancelled()):
                raise MachineError(f"guest '{guest}' is busy with another command", hint="try again, or wait longer")
        try:
            result = running.agent.run(command, max(0.1, end - time.monotonic()), on_output, cancelled)
        finally:
            running.turn.release()
        while self.poll(0):
            pass
        return result
