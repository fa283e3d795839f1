# SPDX-License-Identifier: BSD-2-Clause
"""What a lab host runs, as `python3 router-runner-….pyz VERB FOLDER`: the runner, detached from the connection.

A deployment writes its events into FOLDER/events.jsonl and lives in a session of its own, so that a broken connection
neither ends it nor leaves the board half-way; `follow` streams the file from any line on, as often as it takes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from router import files
from router.deploy import holder as held
from router.deploy import runner
from router.deploy.events import DeployEvent, Reporter, from_line
from router.deploy.holder_client import reach
from router.deploy.job import Job, from_text
from router.errors import HostError, RouterError, from_row, to_row
from router.lab.probe import probe
from router.lab.records import to_json
from router.lab.taken import taken

EVENTS, JOB, PID, LOG, CONSOLE = "events.jsonl", "job.json", "pid", "runner.log", "console.log"
NOT_ADMITTED = 5  # an exit code that no error of ours has
MAX_RUNS = 20
MAX_EVENTS_BYTES = 16 << 20
"""Of a run's events; what comes beyond and depends on the board or its network is left out."""
LIMITED = ("console", "note", "warning", "command", "progress")
MAX_BLOB_AGE_S = 30 * 24 * 3600.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; the exit code is the error's."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verbs: dict[str, Callable[[Path, list[str]], int]] = {
        "admit": admit,
        "latest": latest,
        "start": start,
        "work": work,
        "follow": follow,
        "stop": stop,
        "power": switch,
        "probe": examine,
        "withdraw": withdraw,
        "console": console,
        "connect": connect,
        "hold": hold,
    }
    if len(arguments) < 2 or arguments[0] not in verbs:
        print(f"usage: runner {{{','.join(verbs)}}} FOLDER [ARGUMENT]", file=sys.stderr)
        return 2
    try:
        return verbs[arguments[0]](Path(arguments[1]).expanduser(), arguments[2:])
    except RouterError as error:
        print(json.dumps({"error": to_row(error)}), flush=True)
        return error.exit_code


def admit(file: Path, arguments: list[str]) -> int:
    """Whether an uploaded file has the SHA-256 that it should have: 0 or NOT_ADMITTED."""
    return 0 if files.sha256(file) == arguments[0] else NOT_ADMITTED


def latest(runs: Path, arguments: list[str]) -> int:
    """Print the name of a board's run that is under way, else of the latest that got hold of the board."""
    events = sorted(runs.glob(f"*-{arguments[0]}-????/{EVENTS}"))
    found = [path.parent for path in events if '"event": "step"' in path.read_text() or _alive(path.parent)]
    if not found:
        raise HostError(f"no earlier deployment to '{arguments[0]}' on this host", hint="deploy without --resume")
    print(next((folder for folder in reversed(found) if _alive(folder)), found[-1]).name)
    return 0


def start(folder: Path, _: list[str]) -> int:
    """Begin the job of a folder in the background."""
    _tidy(folder)
    files.open_private(folder / EVENTS).close()
    with files.open_private(folder / LOG, append=True) as log:
        process = subprocess.Popen(
            [sys.executable, sys.argv[0], "work", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while process.poll() is None and not _alive(folder):
        time.sleep(0.02)
    return 0


def work(folder: Path, _: list[str]) -> int:
    """The job itself, in the foreground; every event becomes a line of the file."""
    job = _job(folder)
    with files.open_private(folder / PID) as mine, files.open_private(folder / EVENTS, append=True) as events:
        mine.write(b"%d" % os.getpid())
        files.take_lock(mine.fileno())  # what `_alive` tests: the number alone may be another process's by now
        size = 0

        def keep(event: DeployEvent) -> None:
            nonlocal size
            line = event.to_line().encode() + b"\n"
            if event.kind in LIMITED and size + len(line) > MAX_EVENTS_BYTES:
                return  # a board may print without end; its console's log rotates
            size += len(line)
            events.write(line)

        reporter = Reporter(keep)
        try:
            runner.deploy(job, reporter)
        except RouterError as error:
            reporter.failed(error)
            return error.exit_code
        except Exception as error:
            reporter.failed(HostError(f"the runner failed: {error!r}", hint=f"see {folder / LOG} on the lab host"))
            raise
    return 0


def follow(folder: Path, arguments: list[str]) -> int:
    """Print the events from line number `arguments[0]` (0: all) until the result; 0 whatever the result is."""
    skip = int(arguments[0]) if arguments else 0
    try:
        stream = (folder / EVENTS).open()
    except FileNotFoundError:
        raise HostError(
            "the lab host knows no such run", hint="it may have been tidied away", where=str(folder)
        ) from None
    with stream:
        rest, number = "", 0
        while True:
            alive = _alive(folder)  # asked before reading: what is written before the end is read after it
            rest += stream.readline()
            if not rest.endswith("\n"):
                if not alive:
                    raise HostError("the runner ended without a result", hint=f"see {folder / LOG} on the lab host")
                time.sleep(0.05)
                continue
            number += 1
            if number > skip:
                sys.stdout.write(rest)
                sys.stdout.flush()
            if json.loads(rest)["event"] == "result":
                return 0
            rest = ""


def stop(folder: Path, _: list[str]) -> int:
    """Ask a running job to end; it leaves the board at its prompt."""
    if _alive(folder):
        os.kill(int((folder / PID).read_text()), signal.SIGTERM)
    return 0


def switch(folder: Path, arguments: list[str]) -> int:
    """Switch the board's power."""
    job = _job(folder)
    with taken(job.board, f"power {arguments[0]}", wait=job.options.wait, steal=job.options.steal) as board:
        board.switch(arguments[0])
    return 0


def examine(folder: Path, _: list[str]) -> int:
    """Print what the board's probe found, as JSON."""
    print(json.dumps(to_json(probe(_job(folder).board))))
    return 0


def withdraw(folder: Path, _: list[str]) -> int:
    """Take the job's files out of the TFTP folder; print their names."""
    print(json.dumps({"names": runner.withdraw(_job(folder))}))
    return 0


def console(folder: Path, _: list[str]) -> int:
    """Standard input to the board, the board to standard output, until the input ends."""
    job = _job(folder)
    held = taken(job.board, "console", wait=job.options.wait, steal=job.options.steal)
    with held as board, board.line(job.plan.baud) as line:
        sys.stdout.write("\n")  # tells the other side that the line is open
        sys.stdout.flush()
        while True:
            if select.select([0], [], [], 0)[0]:
                typed = os.read(0, 4096)
                if not typed:
                    return 0
                line.write(typed)
            if data := line.read(0.02):
                os.write(1, data)


def connect(_: Path, arguments: list[str]) -> int:
    """Standard input and output to the control socket of the system on a board; the job is the first line of input."""
    text = b""
    while not text.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return 0
        text += byte
    with reach(from_text(text.decode())) as stream:
        os.write(1, b"\n")  # tells the other side that there is a connection
        while True:
            readable = select.select([0, stream.fileno()], [], [])[0]
            if 0 in readable:
                if not (data := os.read(0, 65536)):
                    return 0
                stream.sendall(data)
            if stream.fileno() in readable:
                if not (data := stream.recv(65536)):
                    return 0
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()


def hold(_: Path, arguments: list[str]) -> int:
    """Serve a board's system while clients are connected, in the background; the job is standard input."""
    if os.fork():
        os._exit(0)
    os.setsid()

    def ready() -> None:
        print(json.dumps({"ready": True}), flush=True)

    held.hold(from_text(sys.stdin.read()), ready)
    return 0


def _job(folder: Path) -> Job:
    return from_text((folder / JOB).read_text())


def _alive(folder: Path) -> bool:
    try:
        with (folder / PID).open() as theirs:
            return not files.try_lock(theirs.fileno(), shared=True)
    except FileNotFoundError:
        return False


def _tidy(folder: Path) -> None:
    """Forget old runs, and payloads that were not used for a month."""
    runs = sorted(path for path in folder.parent.iterdir() if path.is_dir())
    for old in runs[:-MAX_RUNS]:
        if not _alive(old):
            for path in old.iterdir():
                path.unlink()
            old.rmdir()
    blobs = folder.parent.parent / "blobs"
    for blob in blobs.iterdir() if blobs.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # two runs may tidy at once
            if time.time() - blob.stat().st_mtime > MAX_BLOB_AGE_S:
                blob.unlink()


def event_of(line: str) -> DeployEvent | RouterError:
    """A line of ours on the other side: an event, or the error that ended a verb; ValueError when it is neither."""
    try:
        raw = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if isinstance(raw, dict) and "error" in raw and "event" not in raw:
        return from_row(raw["error"])
    return from_line(line)


if __name__ == "__main__":
    sys.exit(main())
