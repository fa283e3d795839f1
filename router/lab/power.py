# SPDX-License-Identifier: BSD-2-Clause
"""Switches a board by the commands in the lab file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile

from router.display import last_line
from router.errors import HostError
from router.lab.board import Board

ACTIONS = ("on", "off", "cycle")
HOOK_TIMEOUT_S = 60.0
OFF_SECONDS = 1.0  # between off and on where there is no `cycle`: capacitors


def commands(board: Board, action: str) -> list[str]:
    """The shell commands for `on`, `off` or `cycle`; HostError when the lab file has none for it."""
    power = board.power
    if action == "cycle" and power.cycle is None and power.on and power.off:
        return [power.off, f"sleep {OFF_SECONDS:g}", power.on]
    command = {"on": power.on, "off": power.off, "cycle": power.cycle}[action]
    if command is None:
        raise HostError(
            f"board '{board.name}' has no `power: {action}` command",
            hint="`power: {on: COMMAND, off: COMMAND, cycle: COMMAND}` in the lab file",
        )
    return [command]


def can(board: Board, action: str) -> bool:
    """Whether the lab file has commands for it."""
    try:
        return bool(commands(board, action))
    except HostError:
        return False


def switch(board: Board, action: str) -> None:
    """Run the commands; HostError with their last words when one fails. ROUTER_BOARD names the board to them."""
    for command in commands(board, action):
        code, said = _run(command, board.name)
        if code is None:
            raise HostError(
                f"the power command did not end within {HOOK_TIMEOUT_S:.0f} s", hint=command, where=board.name
            )
        if code != 0:
            raise HostError(
                f"power {action} failed with status {code}: {last_line(said, 120) or 'it printed nothing'}",
                hint=f"the command was: {command}",
                where=board.name,
            )


def _run(command: str, board: str) -> tuple[int | None, str]:
    """Status and output of a shell command; None when it was ended, with its children, after HOOK_TIMEOUT_S."""
    # Into a file: a pipe stays open for as long as a child in the background lives.
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "ROUTER_BOARD": board},
            start_new_session=True,
        )
        code: int | None = None
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(HOOK_TIMEOUT_S)
        finally:
            if code is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        out.seek(max(0, out.seek(0, os.SEEK_END) - 4096))
        return code, out.read().decode(errors="replace")
