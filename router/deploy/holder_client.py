# SPDX-License-Identifier: BSD-2-Clause
"""Getting a connection to the system on a board: from who serves it, or from a process that is started to serve it."""

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
GREETING = 30.0
"""Seconds within which who serves a board greets, once it takes a connection."""
TRIES = 3
"""How often a process is started to serve the board: it leaves when nobody comes for a moment, and we may be slow."""


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
    for _ in range(TRIES):
        error = _start(job)
        # Also after an error: somebody else may have been quicker.
        if (stream := _connect(name)) is not None:
            return stream
        if error is not None:
            raise error
    raise MachineError("the board's system was let go of at once", hint="try again", where=name)


def _connect(board: str) -> socket.socket | None:
    """A connection to who serves the board, or None: nobody does, or whoever did is just leaving."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.connect(str(socket_path(place_name(board))))
        stream.settimeout(GREETING)
        # A connection that nobody takes any more ends without a greeting, which is left to be read.
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
    # In a lab host's archive there is no module to name: it is the program itself.
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
        return HostError("the process that is to serve the board ended", hint=f"see {folder / LOG}")
    told = json.loads(said)
    return from_row(told["error"]) if "error" in told else None
