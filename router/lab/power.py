# SPDX-License-Identifier: BSD-2-Clause
"""Switching a board by its lab's own commands."""

from __future__ import annotations

import os
import subprocess

from router.errors import HostError
from router.lab.board import Board

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
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=HOOK_TIMEOUT_S,
                check=False,
                env={**os.environ, "ROUTER_BOARD": board.name},
            )
        except subprocess.TimeoutExpired:
            raise HostError(
                f"the power command did not end within {HOOK_TIMEOUT_S:.0f} s", hint=command, where=board.name
            ) from None
        if done.returncode != 0:
            said = done.stdout.strip().splitlines()[-1:] or ["it printed nothing"]
            raise HostError(
                f"power {action} failed with status {done.returncode}: {said[0][:120]}",
                hint=f"the command was: {command}",
                where=board.name,
            )
