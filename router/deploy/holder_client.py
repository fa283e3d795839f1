# SPDX-License-Identifier: BSD-2-Clause
"""A connection to the system on a board: to the process that serves it, which is started where there is none."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from router import files, resources
from router.control.place import socket_path
from router.deploy.job import Job, to_text
from router.deploy.state import place_name, recall, remember, state_folder
from router.errors import HostError, MachineError, RouterError, from_row

LOG = "holder.log"
GREETING_TIMEOUT_S = 30.0
"""Greeting timeout after connect."""
MAX_TRIES = 3
"""Starts of a process that serves the board: one that sees no client in LINGER_S ends, and we may be slow."""


def reach(job: Job) -> socket.socket:
    """A connection to the control socket of the job's board, on the host that the board is wired to.

    A job whose plan has no facts means what was last brought up there; any other says what runs there.
    """
    name = job.board.name
    if job.plan.facts is None:
        job = dataclasses.replace(job, plan=recall(name))
    else:
        remember(name, job.plan)
    if (stream := _connect(name)) is not None:
        return stream
    for _ in range(MAX_TRIES):
        error = _start(job)
        # Also after an error: another process may have been quicker.
        if (stream := _connect(name)) is not None:
            return stream
        if error is not None:
            raise error
    raise MachineError("the board session ended immediately", hint="try again", where=name)


def _connect(board: str) -> socket.socket | None:
    """A connection to the process that serves the board; None when there is none, or it is just ending."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.connect(str(socket_path(place_name(board))))
        stream.settimeout(GREETING_TIMEOUT_S)
        # The greeting stays in the socket. A process that is ending closes the connection without one.
        if stream.recv(1, socket.MSG_PEEK):
            stream.settimeout(None)
            return stream
    except OSError:
        pass
    stream.close()
    return None


def _start(job: Job) -> RouterError | None:
    """Start a process that serves the board, in a session of its own; why it does not, or None once it does."""
    folder = state_folder(job.board.name)
    files.private_folder(folder)
    # A lab host's archive is the program itself; it has no module to name.
    installed = Path(__file__).exists()
    program = ["-P", "-m", "router.deploy.remote"] if installed else [sys.argv[0]]
    environment = {**os.environ, "PYTHONPATH": str(resources.PACKAGE.parent)} if installed else None
    with (
        files.open_private(folder / LOG) as log,
        subprocess.Popen(
            [sys.executable, *program, "hold", job.board.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(to_text(job).encode())
            process.stdin.close()
        said = process.stdout.readline().decode("utf-8", "replace").strip()
    if not said:
        return HostError("the process that serves the board ended at its start", hint=f"see {folder / LOG}")
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        return HostError(f"the process that serves the board says {said[:80]!r}", hint=f"see {folder / LOG}")
    return from_row(answer["error"]) if "error" in answer else None
