# SPDX-License-Identifier: BSD-2-Clause
"""Several boards at once: a deployment of its own, in a process of its own, for each.

What the boards would fight over is one TFTP port of this computer. Where two boards or more ask the same address and
port, one server is here for all of them, with private copies of the files for each: its guests' seeds are in them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from router import resources
from router.deploy import runner, script
from router.deploy.events import DeployEvent, Reporter, error_of, from_line, stoppable
from router.deploy.job import Job
from router.deploy.tftp.server import MAX_TRANSFERS, TftpServer
from router.display import last_line
from router.errors import DescriptionError, HostError, RouterError, Stopped
from router.lab.board import Board
from router.lab.file import LabBoard

END_TIMEOUT_S = 60.0
"""For a deployment that was asked to end, until it is ended."""

Sink = Callable[[str, DeployEvent], None]
"""Gets the events of each board, with the board's name, one at a time."""


@dataclass(slots=True)
class Outcome:
    """How a board's deployment went. seconds: until its end. steps: (what, seconds) as they came; of milestones the
    seconds since the start command. error: None when the board is up.
    """

    board: str
    seconds: float = 0.0
    steps: list[tuple[str, float]] = field(default_factory=list)
    error: RouterError | None = None


def _asked(board: Board) -> tuple[str, int] | None:
    """The address and port of the TFTP server that a deployment starts for the board; None where it starts none."""
    if board.load != "tftp" or board.network is None or board.tftp.root is not None:
        return None
    return board.network.server, board.tftp.port


def shared_ports(boards: Sequence[LabBoard]) -> dict[tuple[str, int], list[Board]]:
    """Which boards ask one TFTP port of this computer: those with an address and port that another board has too.

    A place of labgrid with a TFTP folder asks its exporter. RouterError when labgrid does not say.
    """
    found: dict[tuple[str, int], list[Board]] = {}
    for one in boards:
        if one.via is None and (place := _asked(one.board)) is not None:
            found.setdefault(place, []).append(one.board)
    shared = {}
    for place, asking in found.items():
        if len(asking) > 1:
            ours = [board for board in asking if not _has_folder(board)]
            if len(ours) > 1:
                shared[place] = ours
    return shared


def check_ports(boards: Sequence[LabBoard]) -> None:
    """DescriptionError when two boards behind one lab host ask one TFTP port there: each has a server of its own."""
    found: dict[tuple[str, str, int], str] = {}
    for one in boards:
        name, place = one.board.name, _asked(one.board)
        if one.via is None or place is None:
            continue
        address, port = place
        other = found.setdefault((one.via, address, port), name)
        if other != name:
            raise DescriptionError(
                f"boards '{other}' and '{name}' ask port {port} of {address}"
                f" on lab host {one.via}, and two servers cannot share it",
                hint="give each its own `tftp: {port: …}`, or deploy to one after the other",
                where="tftp.port",
            )


def _has_folder(board: Board) -> bool:
    if board.labgrid is None:
        return False
    from router.lab.labgrid.place import preview

    return preview(board)[1] is not None


def deploy_each(
    jobs: Mapping[str, Job], boards: Sequence[LabBoard], arguments: Sequence[str], sink: Sink
) -> list[Outcome]:
    """Deploy to each board, and wait for all of them; the failure of one does not end the others.

    arguments: of the `router deploy --json` that each process runs; its board is added. When this process is stopped,
    each of them is stopped and leaves its board in order. Errors as of `check_ports`, before anything begins.
    """
    check_ports(boards)
    lock = threading.Lock()

    def say(name: str, event: DeployEvent) -> None:
        with lock:
            sink(name, event)

    with stoppable("each board's lock and serial line are free"), ExitStack() as stack:
        served: dict[str, list[str]] = {}
        for (address, port), asking in shared_ports(boards).items():
            folders = stack.enter_context(_serving([jobs[board.name] for board in asking], address, port, say))
            served |= {name: ["--served", str(folder)] for name, folder in folders.items()}
        running = [
            stack.enter_context(_Deployment(one.board.name, [*arguments, *served.get(one.board.name, [])], say))
            for one in boards
        ]
        try:
            for each in running:
                each.wait()
        except BaseException:
            for each in running:  # all of them first: each takes its time to leave its board in order
                each.stop()
            raise
        return [each.outcome for each in running]


@contextmanager
def _serving(jobs: Sequence[Job], address: str, port: int, say: Sink) -> Iterator[dict[str, Path]]:
    """One TFTP server for the boards of all these jobs; the folder with the copies of each, by the board's name."""
    names: dict[str, str] = {}
    for job in jobs:
        if job.board.network is not None and job.board.network.board != "dhcp":
            names[str(ipaddress.IPv4Interface(job.board.network.board).ip)] = job.board.name
    reporters = {peer: Reporter(lambda event, name=name: say(name, event)) for peer, name in names.items()}  # type: ignore[misc]
    with ExitStack() as stack:
        copies = [stack.enter_context(runner.copied(job)) for job in jobs]
        server = TftpServer(
            {script.served_name(item, job.board): job.path(item) for job in copies for item in job.plan.payloads},
            address=address,
            port=port,
            # A board with an address by DHCP may ask from any.
            peers=frozenset(names) if len(names) == len(jobs) else None,
            listener=lambda event: (
                runner.report_transfer(reporters[event.peer], event) if event.peer in reporters else None
            ),
            max_blksize=max(job.board.tftp.blksize for job in jobs),
            max_window=min(job.board.tftp.window for job in jobs),
            max_transfers=max(MAX_TRANSFERS, 2 * len(jobs)),
        )
        stack.enter_context(server)
        yield {job.board.name: job.path(job.plan.payloads[0]).parent for job in copies}


class _Deployment:
    """One board's process. A context manager: at its end the process has ended."""

    def __init__(self, name: str, arguments: Sequence[str], say: Sink) -> None:
        self.outcome = Outcome(name)
        self._arguments = arguments
        self._say = say
        self._ended = False
        self._stopped = False

    def __enter__(self) -> _Deployment:
        self._errors = tempfile.TemporaryFile()
        command = [sys.executable, "-P", "-m", "router", "deploy", *self._arguments, "--on", self.outcome.board]
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": str(resources.PACKAGE.parent)},
            start_new_session=True,  # Ctrl-C comes to us, and we pass it on once
        )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._errors.close()

    def stop(self) -> None:
        """Ask it to end, once."""
        if not self._stopped:
            self._stopped = True
            self._process.terminate()

    def wait(self) -> None:
        """Until it has ended."""
        code = self._process.wait()
        self._reader.join()
        if not self._ended:
            self._errors.seek(0)
            said = last_line(self._errors.read().decode("utf-8", "replace"))
            self.outcome.error = HostError(
                f"its deployment ended with status {code}: {said or 'it printed nothing'}", where=self.outcome.board
            )

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                with contextlib.suppress(ValueError):  # a line of anything else is no event
                    self._take(from_line(line.decode("utf-8", "replace")))

    def _take(self, event: DeployEvent) -> None:
        outcome = self.outcome
        outcome.seconds = time.monotonic() - self._started
        if event.kind in ("done", "milestone"):
            outcome.steps.append((str(event.data["name"]), float(event.data["seconds"])))
        elif event.kind == "result":
            self._ended = True
            outcome.error = error_of(event)
        self._say(outcome.board, event)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 when every board is up; that of a stopped run, else the highest of the failures'."""
    errors = [each.error for each in outcomes if each.error is not None]
    if any(isinstance(error, Stopped) for error in errors):
        return Stopped.exit_code
    return max((error.exit_code for error in errors), default=0)
