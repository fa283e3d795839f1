# SPDX-License-Identifier: BSD-2-Clause
"""Probes a board without sending anything to it: its device, its lock, its power commands, its address."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from router.console.serial_port import candidates
from router.lab import power
from router.lab.board import Board
from router.lab.lock import holder_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """What a probe found. held: by whom the board is in use. power: actions that it can. troubles: sentences."""

    name: str
    serial: str
    held: str | None
    power: tuple[str, ...]
    troubles: tuple[str, ...]


def probe(board: Board) -> Probed:
    """Facts and troubles. Nothing is sent to the board, and a place of labgrid is not acquired."""
    if board.labgrid is not None:
        from router.lab.labgrid.place import look

        return look(board)
    troubles: list[str] = []
    serial = board.serial
    if "://" not in serial:
        if not Path(serial).exists():
            known = candidates()
            troubles.append(f"no {serial}; this host has {', '.join(known) if known else 'no serial adapter'}")
        elif not os.access(serial, os.R_OK | os.W_OK):
            troubles.append(f"no permission for {serial}: join its group (usually dialout)")
    holder = holder_of(board.name)
    if board.load == "tftp" and board.network is not None:
        troubles += _network(board)
    return Probed(
        name=board.name,
        serial=serial,
        held=str(holder) if holder else None,
        power=tuple(action for action in power.ACTIONS if power.can(board, action)),
        troubles=tuple(troubles),
    )


def _network(board: Board) -> list[str]:
    assert board.network is not None
    if board.tftp.root is not None:
        root = Path(board.tftp.root)
        if not root.is_dir():
            return [f"tftp root {root} is not a folder"]
        return [] if os.access(root, os.W_OK) else [f"tftp root {root} is not writable"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((board.network.server, board.tftp.port))
        except OSError as error:
            place = f"{board.network.server} port {board.tftp.port}"
            known = {
                errno.EADDRNOTAVAIL: f"no interface has the address {board.network.server}",
                errno.EACCES: f"port {board.tftp.port} needs more rights",
                errno.EADDRINUSE: f"another server has {place}",
            }
            return [known.get(error.errno or 0, f"{place}: {error.strerror}")]
    return []
