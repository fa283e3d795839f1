# SPDX-License-Identifier: BSD-2-Clause
"""One board of a lab: how it is reached, loaded and switched on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from router.errors import DescriptionError

LOAD_WAYS = ("tftp", "ymodem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Addresses for loading by TFTP.

    board: IPv4 address with prefix length ("192.0.2.2/24"), or "dhcp". server: this host's address on that network.
    device: U-Boot's name of the interface (`ethact`), where the first one is not it.
    """

    board: str
    server: str
    gateway: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tftp:
    """root: folder of a TFTP server that runs already (None: our own). port: UDP; above 1023 it needs `tftpdstp`."""

    root: str | None = None
    port: int = 69
    blksize: int = 1468
    window: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Shell commands that switch the board; they end with status 0 when they have done it."""

    on: str | None = None
    off: str | None = None
    cycle: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Labgrid:
    """A place of labgrid, which has the board's serial port, power switch and TFTP folder.

    coordinator: HOST or HOST:PORT; None takes the environment variable LG_COORDINATOR. serial: the name of the serial
    resource, where the place has several.
    """

    place: str
    coordinator: str | None = None
    serial: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One board of a lab. name: in the lab file. kind: as in descriptions (`board:`). serial: device or URL.

    baud and prompt: None takes the plan's. stop_keys: what stops its autoboot. autoboot: the text after which it looks
    for them; None for U-Boot's own texts. labgrid: where the serial port is known only once the place is acquired
    (`serial` is empty then).
    """

    name: str
    kind: str
    serial: str
    labgrid: Labgrid | None = None
    baud: int | None = None
    prompt: str | None = None
    stop_keys: str = "\x03"
    autoboot: str | None = None
    load: str = "tftp"
    network: Network | None = None
    tftp: Tftp = Tftp()
    power: Power = Power()


def check_board(board: Board, where: str) -> None:
    """What the types do not say about a board; DescriptionError."""

    def wrong(message: str, hint: str | None = None) -> DescriptionError:
        return DescriptionError(message, hint=hint, where=where)

    if board.load not in LOAD_WAYS:
        raise wrong(f"load: {board.load!r} is not known", hint=f"one of {', '.join(LOAD_WAYS)}")
    if board.load != "tftp":
        return
    if board.network is None:
        raise wrong(
            "loading by TFTP needs the board's and this host's address",
            hint="network: {board: 192.0.2.2/24, server: 192.0.2.1}, or load: ymodem",
        )
    try:
        ipaddress.IPv4Address(board.network.server)
        if board.network.gateway is not None:
            ipaddress.IPv4Address(board.network.gateway)
    except ValueError as error:
        raise wrong(f"network: {error}") from None
    if board.network.board == "dhcp":
        return
    try:
        interface = ipaddress.IPv4Interface(board.network.board)
    except ValueError as error:
        raise wrong(f"network: board: {error}", hint="an address with its prefix length, as 192.0.2.2/24") from None
    if "/" not in board.network.board:
        raise wrong("network: board: the prefix length is missing", hint=f"{interface.ip}/24, if that is its subnet")
    if ipaddress.IPv4Address(board.network.server) not in interface.network and board.network.gateway is None:
        raise wrong(
            f"network: the server {board.network.server} is outside the board's subnet {interface.network}",
            hint="mend one of the two, or add `gateway:`",
        )
