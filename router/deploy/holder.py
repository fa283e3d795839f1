# SPDX-License-Identifier: BSD-2-Clause
"""A system that runs on a board, over the board's one serial line, and the process that serves it meanwhile."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from router.console.serial_line import control
from router.console.serial_port import SerialPort
from router.control.facts import SystemFacts
from router.control.place import Claim
from router.control.server import ControlServer
from router.control.timeline import Timeline
from router.deploy.events import stoppable
from router.deploy.job import Job
from router.deploy.state import place_name, state_folder
from router.errors import DescriptionError, MachineError
from router.lab.taken import taken
from router.machines.live import LiveGuest, LiveSystem

GREETING_TIMEOUT_S = 3.0
"""For the guests' agents to answer, before the first client is served."""
FIRST_LINE_TIMEOUT_S = 15.0
"""For the first sign of the system on the line, else it does not run."""
BOOT_TIMEOUT_S = 60.0
"""For an agent of a guest that still boots."""
LINGER_S = 2.0
"""Without a client, until the board is released."""


class Bridge:
    """Carries bytes between the board's line and a socket pair, whose near end is `near`, until it is closed.

    error: why it ended before `close`, or None.
    """

    def __init__(self, line: SerialPort) -> None:
        self.near, self._far = socket.socketpair()
        self.error: MachineError | None = None
        self._line = line
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._up, self._down)]
        for thread in self._threads:
            thread.start()

    def _up(self) -> None:
        with self._ending():
            while not self._stopping.is_set():
                if data := self._line.read(0.1):
                    self._far.sendall(data)

    def _down(self) -> None:
        with self._ending():
            while data := self._far.recv(1024):
                self._line.write(data)

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        try:
            yield
        except MachineError as error:
            self.error = self.error or error
        except OSError:  # the other end has been closed
            return
        finally:
            with contextlib.suppress(OSError):
                self._far.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End both threads; the line stays open."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._far.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(15)
        self._far.close()
        self.near.close()


class BoardSystem(LiveSystem[LiveGuest]):
    """The system on a board. `line`: open, and owned until the end."""

    mode = "board"

    def __init__(self, facts: SystemFacts, line: SerialPort, logs: Path) -> None:
        timeline = Timeline()
        timeline.mute()
        super().__init__(facts, logs, timeline)
        self._serial = line
        self._leaving = threading.Event()

    def _start(self) -> None:
        self._bridge = Bridge(self._serial)
        self._stack.callback(self._bridge.close)
        self._stack.callback(self._leaving.set)
        line = self._share(self._bridge.near, self.facts.names, running=True)
        for guest in self.facts.names:
            console, agent = self._on_line(guest)
            self.guests[guest] = LiveGuest(consoles=(console,), agent=agent)
            # Ends what a program that was stopped in the middle of a line has left, as nothing that an agent takes.
            line.port(control(guest)).sendall(b"!\n")

    def greet(self, seconds: float) -> None:
        """Find out which guests are up; MachineError when the line shows no sign of the system.

        An agent that has not answered within `seconds` goes on being asked: its guest may still be booting.
        """
        asking = [threading.Thread(target=self._ask, args=(guest,), daemon=True) for guest in self.guests]
        for thread in asking:
            thread.start()
        end = time.monotonic() + seconds
        for thread in asking:
            thread.join(max(0.0, end - time.monotonic()))
        assert self._line is not None, "the line is shared at the start"
        while (
            not self._line.heard
            and self._bridge.error is None
            and time.monotonic() < end - seconds + FIRST_LINE_TIMEOUT_S
        ):
            time.sleep(0.05)
        if not self._line.heard:
            raise MachineError(
                f"nothing on the board's serial line is '{self.facts.system}'",
                hint="does it still run what was deployed? `router console` without --guest shows the line",
                where=self._serial.device,
            )

    def _ask(self, guest: str) -> None:
        if self.wait_for_agent(guest, BOOT_TIMEOUT_S, self._leaving.is_set):
            self.timeline.add(guest, "userspace", "", "answers")
            self._clocks.guest_is_up(guest)

    def _check_alive(self) -> None:
        if self._bridge.error is not None:
            raise self._bridge.error
        self._check_fault()


def set_clocks(facts: SystemFacts, line: SerialPort, logs: Path) -> int:
    """Set the clocks of the guests that answer on the line of a board that has just booted; how many that were."""
    count = 0
    with BoardSystem(facts, line, logs) as system:
        for guest in facts.names:
            with contextlib.suppress(MachineError):
                count += system.set_clock(guest, GREETING_TIMEOUT_S)
    return count


def hold(job: Job, ready: Callable[[], None]) -> None:
    """Serve the board's system until LINGER_S after the last client; `ready` is called once it is served."""
    facts, board = job.plan.facts, job.board
    if facts is None:
        raise DescriptionError(f"the system '{job.plan.system}' shares no serial line", where=board.name)
    options = job.options
    held = taken(
        board,
        f"serving {facts.system}",
        wait=options.wait,
        steal=options.steal,
        owner=(options.owner[0], options.owner[1]) if len(options.owner) == 2 else None,
        leaves=True,
    )
    with (
        stoppable("the board is free"),
        held as one,
        Claim(place_name(board.name)) as claim,
        one.line(job.plan.baud) as line,
        BoardSystem(facts, line, state_folder(board.name) / "logs") as system,
    ):
        system.greet(GREETING_TIMEOUT_S)
        with ControlServer(claim, system, system.mode) as server:
            ready()
            served = time.monotonic()
            while time.monotonic() - served < LINGER_S or not server.retire():
                system.poll(0.1)
                if server.clients:
                    served = time.monotonic()
