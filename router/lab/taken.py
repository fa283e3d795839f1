# SPDX-License-Identifier: BSD-2-Clause
"""A board that is ours for a while: locked, and acquired where it is a place of labgrid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from router.console.serial_port import SerialPort
from router.lab import power
from router.lab.board import Board
from router.lab.lock import BoardLock


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A board, and the ways to its line, its power and its TFTP folder.

    board: with the serial port that is there now. actions: what `switch` can do (on, off, cycle); it raises a HostError
    when it fails. stage: puts files (name → path) into the folder of a TFTP server and returns what a board puts
    before the names to ask for them (None: there is no such folder). check: MachineError once the board is not ours any
    more (None: it stays ours until we release it).
    """

    board: Board
    actions: tuple[str, ...]
    switch: Callable[[str], None]
    stage: Callable[[Mapping[str, Path]], str] | None = None
    check: Callable[[], None] | None = None

    def line(self, baud: int, log: Path | None = None) -> SerialPort:
        """Its serial port, to be opened. baud: the plan's, where the lab file names none."""
        return SerialPort(self.board.serial, self.board.baud or baud, log, self.check)


def wired(board: Board) -> Taken:
    """A board that is wired to this computer, and is ours already."""
    actions = tuple(action for action in power.ACTIONS if power.can(board, action))
    return Taken(board=board, actions=actions, switch=lambda action: power.switch(board, action))


@contextmanager
def taken(
    board: Board,
    doing: str,
    *,
    wait: float = 0.0,
    steal: bool = False,
    owner: tuple[str, str] | None = None,
    waiting: Callable[[str], None] | None = None,
    leaves: bool = False,
) -> Iterator[Taken]:
    """Hold the board: arguments and errors as of `BoardLock`. HostError without labgrid, or without its coordinator."""
    key: str | None = None
    if board.labgrid is not None:
        from router.lab.labgrid import place

        key = place.key(board.labgrid)
    lock = BoardLock(board.name, doing, wait=wait, steal=steal, owner=owner, waiting=waiting, leaves=leaves, key=key)
    with lock:
        if board.labgrid is None:
            yield wired(board)
            return
        with place.place(board, lock, wait=wait, steal=steal, waiting=waiting) as one:
            yield one
