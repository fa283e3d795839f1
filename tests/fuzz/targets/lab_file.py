# SPDX-License-Identifier: BSD-2-Clause
"""A lab file. Any bytes are boards, or errors with places in it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from router.description.diagnostics import DescriptionErrors
from router.errors import DescriptionError
from router.lab.board import check_board
from router.lab.file import LabFile, choose, load

from ._findings import check_findings

_folder = tempfile.TemporaryDirectory()
_path = Path(_folder.name) / "boards.yaml"


def one_input(data: bytes) -> None:
    _path.write_bytes(data)
    try:
        boards = load(LabFile(_path))
    except DescriptionErrors as errors:
        check_findings(errors, data)
        return
    except DescriptionError as error:
        assert str(error).isprintable() or "\n" in str(error)
        return
    assert boards and len({one.board.name for one in boards}) == len(boards)
    for one in boards:
        check_board(one.board, one.place)
        assert choose(boards, one.board.name, one.board.kind, _path) == one


def seeds() -> list[bytes]:
    whole = """boards:
  desk:
    board: maaxboard
    serial: /dev/serial/by-id/usb-a
    baud: 115200
    prompt: "=> "
    stop_keys: "\\x03"
    network: {board: 192.0.2.2/24, server: 192.0.2.1, gateway: 192.0.2.254, device: eth0}
    tftp: {port: 6969, window: 8, blksize: 1468, root: /srv/tftp}
    power: {on: "p on", off: "p off", cycle: "p cycle"}
    via: user@host:22
"""
    return [
        whole.encode(),
        b"boards: {a: {board: qemu, serial: tty, load: ymodem}, b: {board: qemu, serial: tty, load: xmodem}}",
        b"boards: {a: {board: qemu, serial: tty, network: {board: dhcp, server: 192.0.2.1}}}",
        b"~",
        b"boards:\n  'a/b': &x {board: 1, serial: , bord: y}\n  c: *x\n  c: {<<: *x, board: [1]}\n",
    ]
