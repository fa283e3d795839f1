# SPDX-License-Identifier: BSD-2-Clause
"""Running jobs on a lab host: the runner and the payloads go there, events and consoles come back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from router import files
from router.deploy import remote
from router.deploy.archive import make_archive
from router.deploy.events import DeployEvent, Reporter, error_of
from router.deploy.job import Job, to_text
from router.deploy.lab_connection import CHUNK, FOLDER, LabHost
from router.errors import HostError, MachineError, RouterError
from router.lab.lock import me
from router.lab.probe import Probed
from router.lab.records import from_json

RECONNECT_TIMEOUT_S = 60.0
MAX_EVENT_BYTES = 1 << 20
"""Of one event's line; a console's line, the longest, has some KiB."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What the verb `withdraw` prints."""

    names: tuple[str, ...]


class Lab:
    """Runs jobs on a lab host: `prepare` once, then any verb of `router.deploy.remote`."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        self._runner = ""

    def prepare(self, job: Job, reporter: Reporter) -> str:
        """Upload the runner, the payloads and the job; returns the run's name on the host."""
        host = self.host
        with reporter.step(f"upload to {host.target}") as said:
            self.install()
            places: dict[str, str] = {}
            sent = 0
            status, home = host.run("pwd")
            with self._alone():
                for item in job.plan.payloads if job.files else ():

                    def progress(done: int, size: int, name: str = item.file) -> None:
                        nonlocal sent
                        sent += 1
                        reporter.say("progress", name=name, done=done, size=size)

                    def admit(part: str, sha256: str = item.sha256) -> bool:
                        status, text = host.run(shlex.join(["python3", self._runner, "admit", part, sha256]))
                        if status not in (0, remote.NOT_ADMITTED):
                            raise self.error_in(text)
                        return status == 0

                    blob = host.upload(Path(job.files[item.file]), item.sha256, progress, admit)
                    places[item.file] = f"{home.strip()}/{blob}"
            if not sent and places:
                said.append("everything was there already")
            run = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{job.board.name}-{secrets.token_hex(2)}"
            place = f"{home.strip()}/{FOLDER}/runs/{run}"
            status, text = host.run(f"mkdir -p {shlex.quote(place)}")
            if status != 0:
                raise HostError(f"cannot write on {host.target}: {text.strip()}")
            host.write(f"{place}/{remote.JOB}", to_text(_there(job, places, place)).encode())
        return run

    def install(self) -> None:
        """Have the runner on the host."""
        self.host.run(f"mkdir -p {FOLDER}/blobs {FOLDER}/runs && chmod 700 {FOLDER}")
        archive = make_archive()
        self._runner = f"{FOLDER}/{archive.name}"
        with self._alone():
            if self.host.size(self._runner) != len(archive.data):
                self.host.write(f"{self._runner}.new", archive.data)
                self.host.sftp.posix_rename(f"{self._runner}.new", self._runner)

    def _alone(self) -> AbstractContextManager[None]:
        """Uploads of this computer to the host come one after the other: deployments side by side have one file."""
        name = f"{files.sha256_of(self.host.target.encode())[:16]}.lock"
        return files.locked(files.state_folder() / "lab-hosts" / name)

    def stream(self, job: Job) -> socket.socket:
        """A connection to the control socket of the system on the job's board."""
        channel = self.host.channel(shlex.join(["python3", self._runner, "connect", job.board.name]))
        channel.sendall(to_text(dataclasses.replace(job, options=dataclasses.replace(job.options, owner=me()))) + "\n")
        first = channel.recv(65536)
        if not first.startswith(b"\n"):
            with contextlib.closing(channel):
                raise self.error_in((first + self.host.receive_all(channel)).decode("utf-8", "replace"))
        near, far = socket.socketpair()
        far.sendall(first[1:])

        def up() -> None:
            with contextlib.suppress(OSError, EOFError), far:
                while data := channel.recv(65536):
                    far.sendall(data)
                far.shutdown(socket.SHUT_RDWR)

        def down() -> None:
            with contextlib.suppress(OSError, EOFError), contextlib.closing(channel):
                while data := far.recv(65536):
                    channel.sendall(data)

        for carry in (up, down):
            threading.Thread(target=carry, name="lab-host-connection", daemon=True).start()
        return near

    def last(self, board: str) -> str:
        """The name of the board's run that is under way, else of its latest; HostError when there is none."""
        folder = f"{FOLDER}/runs"
        status, text = self.host.run(shlex.join(["python3", self._runner, "latest", folder, board]))
        if status != 0:
            raise self.error_in(text)
        return text.strip()

    def command(self, verb: str, run: str, *arguments: str) -> str:
        """The shell command for a verb on a run."""
        return shlex.join(["python3", self._runner, verb, f"{FOLDER}/runs/{run}", *arguments])

    def call(self, verb: str, run: str, *arguments: str) -> str:
        """Run a verb to its end; its output. Raises the error that it ended with."""
        status, text = self.host.run(self.command(verb, run, *arguments))
        if status != 0:
            raise self.error_in(text)
        return text

    def probe(self, run: str) -> Probed:
        """What a probe of the run's board has found there."""
        text = self.call("probe", run)
        try:
            return from_json(Probed, json.loads(text))
        except (ValueError, RecursionError):
            raise self.error_in(text) from None

    def withdraw(self, run: str) -> list[str]:
        """Take the job's files out of the TFTP folder there; their names."""
        text = self.call("withdraw", run)
        try:
            return list(from_json(Withdrawn, json.loads(text)).names)
        except (ValueError, RecursionError):
            raise self.error_in(text) from None

    def fetch_log(self, run: str, into: Path) -> None:
        """Append the run's console log (MAX_LOG_BYTES) to a log here; a run that never opened the line has none."""
        into.parent.mkdir(parents=True, exist_ok=True)
        path = f"{FOLDER}/runs/{run}/{remote.CONSOLE}"
        with contextlib.suppress(FileNotFoundError), self.host.sftp.open(path, "rb") as log, files.Log(into) as out:
            left = min(log.stat().st_size or 0, files.MAX_LOG_BYTES)
            log.prefetch(left)
            while left and (data := log.read(min(left, CHUNK))):
                out.write(data)
                left -= len(data)

    def follow(self, run: str, reporter: Reporter) -> RouterError | None:
        """Stream a run's events until its result, over as many connections as it takes; the run's error, or None."""
        seen = 0
        while True:
            try:
                for event in self._events(run, seen):
                    seen += 1
                    reporter.say(event.kind, **event.data)
                    if event.kind == "result":
                        return error_of(event)
            except (OSError, EOFError) as error:
                reporter.say("warning", text=f"the connection to {self.host.target} broke ({error}); trying again")
            self._reconnect()

    def _events(self, run: str, skip: int) -> Iterator[DeployEvent]:
        channel = self.host.channel(self.command("follow", run, str(skip)))
        rest = b""
        try:
            while data := channel.recv(65536):
                *lines, rest = (rest + data).split(b"\n")
                if len(rest) > MAX_EVENT_BYTES:
                    raise HostError(f"{self.host.target} answered with a line of over {MAX_EVENT_BYTES} bytes")
                for line in lines:
                    event = self._parse(line.decode("utf-8", "replace"))
                    yield event
        finally:
            channel.close()
        if channel.exit_status_ready() and channel.recv_exit_status() not in (0, -1):
            raise self.error_in(rest.decode("utf-8", "replace"))
        raise EOFError("closed by the other side")

    def _parse(self, line: str) -> DeployEvent:
        try:
            found = remote.event_of(line)
        except ValueError:
            raise self.error_in(line) from None
        if isinstance(found, RouterError):
            raise found
        return found

    def error_in(self, text: str) -> RouterError:
        last = (text.strip().splitlines() or [""])[-1]
        try:
            found = remote.event_of(last)
        except ValueError:
            found = None
        if isinstance(found, RouterError):
            return found
        hint = "python3 is needed there" if "not found" in text else None
        return HostError(f"{self.host.target} answered: {last[:200]}", hint=hint)

    def _reconnect(self) -> None:
        deadline = time.monotonic() + RECONNECT_TIMEOUT_S
        while True:
            try:
                self.host.close()
                self.host.connect()
                return
            except HostError as error:
                if time.monotonic() > deadline:
                    raise MachineError(
                        f"{self.host.target} cannot be reached any more: {error.message}",
                        hint="the deployment goes on there; `router deploy --resume` follows it again",
                    ) from None
                time.sleep(1)


def _there(job: Job, places: dict[str, str], place: str) -> Job:
    options = dataclasses.replace(job.options, log=f"{place}/{remote.CONSOLE}", owner=me())
    return dataclasses.replace(job, files=places, options=options)


def probe_via(host: LabHost, job: Job) -> Probed:
    """The probe of a board on its lab host."""
    lab = Lab(host)
    return lab.probe(lab.prepare(job, Reporter(lambda _: None)))
