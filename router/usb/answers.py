# SPDX-License-Identifier: BSD-2-Clause
"""Reads what guests' USB/IP programs print as JSON. A guest may answer anything, so every field is checked.

What cannot be right is a MachineError of that guest alone, "answers nonsense: …" with the field's place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from router.errors import MachineError
from router.usb.facts import Attached, BlockDisk, Controller, Device, Grant, Part, Port, full_name
from router.usbip.protocol.device import SPEED_NAMES, valid_busid
from router.usbip.runtime.text import printable

MAX_ROWS = 1024
"""Entries in any list. A server's list on the wire has as many at most (router.usbip.protocol.handshake)."""
MAX_TEXT = 1024
"""Characters in any text. A string descriptor has 126 at most; a rule's words are a line of the policy."""
HUBS = ("hs", "ss")
STATES = ("free", "starting", "used", "error", "unknown")


class Row:
    """A JSON object whose fields are asked for by name and kind; MachineError for what it does not have."""

    def __init__(self, guest: str, place: str, values: object) -> None:
        self.guest = guest
        self.place = place
        if not isinstance(values, dict):
            raise self.nonsense("is not an object")
        self.values = values

    def nonsense(self, what: str, name: str = "") -> MachineError:
        """The error for a field, or for the whole row."""
        place = f"{self.place}.{name}" if self.place and name else self.place or name or "the answer"
        return MachineError(f"answers nonsense: {printable(place)} {what}", where=self.guest)

    def _get(self, name: str) -> Any:
        if name not in self.values:
            raise self.nonsense("is missing", name)
        return self.values[name]

    def text(self, name: str) -> str:
        """A text of at most MAX_TEXT characters."""
        return self._text(name, self._get(name))

    def _text(self, name: str, value: object) -> str:
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self.nonsense(f"is not a text of at most {MAX_TEXT} characters", name)
        return value

    def optional_text(self, name: str) -> str | None:
        """A text, or null."""
        return None if self._get(name) is None else self.text(name)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of these texts."""
        value = self._get(name)
        if value not in choices:
            raise self.nonsense(f"is none of {', '.join(choices)}", name)
        return str(value)

    def number(self, name: str, largest: int, smallest: int = 0) -> int:
        """A whole number in that range."""
        return self._number(name, self._get(name), largest, smallest)

    def _number(self, name: str, value: object, largest: int, smallest: int = 0) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not smallest <= value <= largest:
            raise self.nonsense(f"is not a number from {smallest} to {largest}", name)
        return value

    def flag(self, name: str) -> bool:
        """true or false."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise self.nonsense("is neither true nor false", name)
        return value

    def _list(self, name: str, value: object) -> list[Any]:
        if not isinstance(value, list) or len(value) > MAX_ROWS:
            raise self.nonsense(f"is not a list of at most {MAX_ROWS} entries", name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self._text(name, value) for value in self._list(name, self._get(name)))

    def numbers(self, name: str, largest: int) -> tuple[int, ...]:
        """A list of numbers from 0."""
        return tuple(self._number(name, value, largest) for value in self._list(name, self._get(name)))

    def triple(self, name: str) -> tuple[int, ...]:
        """Class, subclass and protocol of a device or interface."""
        return self._triple(name, self._get(name))

    def _triple(self, name: str, value: object) -> tuple[int, ...]:
        values = self._list(name, value)
        if len(values) != 3:
            raise self.nonsense("is not class, subclass and protocol", name)
        return tuple(self._number(name, one, 0xFF) for one in values)

    def triples(self, name: str) -> tuple[tuple[int, ...], ...]:
        """A list of them."""
        return tuple(self._triple(name, value) for value in self._list(name, self._get(name)))

    def rows(self, name: str) -> Iterator[Row]:
        """A list of objects."""
        for number, value in enumerate(self._list(name, self._get(name))):
            yield Row(self.guest, f"{self.place}.{name}[{number}]".lstrip("."), value)

    def optional_row(self, name: str) -> Row | None:
        """An object, or null."""
        value = self._get(name)
        return None if value is None else Row(self.guest, f"{self.place}.{name}", value)

    def busid(self, name: str) -> str:
        """A port path such as "1-1.2"."""
        value = self._get(name)
        if not isinstance(value, str) or not valid_busid(value):
            raise self.nonsense("is not a port path such as 1-1.2", name)
        return value


def parse(guest: str, output: bytes) -> dict[str, Any]:
    """The JSON object that a guest's program printed; MachineError when it printed anything else."""
    try:
        rows = json.loads(output)
    except (ValueError, RecursionError):
        # RecursionError: brackets nested deeper than any answer is.
        rows = None
    if not isinstance(rows, dict):
        shown = printable(output.decode(errors="replace").strip()[-200:]) or "nothing"
        raise MachineError(f"its USB/IP program said: {shown}", where=guest)
    return rows


def devices_of(server: str, rows: Mapping[str, Any], addresses: Mapping[str, str]) -> tuple[Device, ...]:
    """A server guest's devices; `addresses`: guests by IP address. MachineError for an answer that makes no sense."""
    return tuple(_device(row, addresses) for row in Row(server, "", rows).rows("devices"))


def _device(row: Row, addresses: Mapping[str, str]) -> Device:
    def guest(client: str) -> str:
        return addresses.get(client, client)

    client = row.optional_text("client")
    return Device(
        server=row.guest,
        busid=row.busid("busid"),
        busnum=row.number("busnum", 0xFFFF),
        devnum=row.number("devnum", 0xFFFF),
        vidpid=row.text("device"),
        manufacturer=row.text("manufacturer"),
        product=row.text("product"),
        serial=row.text("serial"),
        speed=row.number("speed", max(SPEED_NAMES)),
        triple=row.triple("class"),
        interfaces=row.triples("interfaces"),
        exported=row.flag("exported"),
        holder=None if client is None else guest(client),
        grants={
            guest(one.text("client")): Grant(one.number("port", 0xFF), one.text("words")) for one in row.rows("granted")
        },
        taken=tuple(guest(one) for one in row.texts("taken")),
        # A guest that was built by an earlier version has no such disks, and no word for them.
        disk=row.optional_text("disk") if "disk" in row.values else None,
        parts=tuple(
            Part(guest(one.text("client")), one.text("disk"), one.flag("exported")) for one in row.rows("parts")
        )
        if "parts" in row.values
        else (),
        readers=tuple(guest(one) for one in row.texts("clients")) if "clients" in row.values else (),
    )


def ports_of(guest: str, rows: Mapping[str, Any], addresses: Mapping[str, str]) -> tuple[Port, ...]:
    """A client guest's virtual ports. MachineError for an answer that makes no sense."""
    return tuple(_port(row, addresses) for row in Row(guest, "", rows).rows("ports"))


def _port(row: Row, addresses: Mapping[str, str]) -> Port:
    there = row.optional_row("device")
    return Port(
        guest=row.guest,
        number=row.number("port", 0xFFFF),
        hub=row.choice("hub", HUBS),
        controller=row.number("controller", 0xFFFF),
        place=row.number("place", 0xFFFF),
        rhport=row.number("rhport", 0xFFFF),
        state=row.choice("state", STATES),
        device=None if there is None else _attached(there, addresses),
    )


def _attached(row: Row, addresses: Mapping[str, str]) -> Attached:
    server = row.text("server")
    return Attached(
        server=addresses.get(server, server),
        busid=row.busid("busid") if row.text("busid") else "",
        busnum=row.number("busnum", 0xFFFF),
        devnum=row.number("devnum", 0xFFFF),
        vid=row.number("vid", 0xFFFF),
        pid=row.number("pid", 0xFFFF),
        name=full_name(row.text("manufacturer"), row.text("product")),
        speed=row.number("speed", max(SPEED_NAMES)),
        local=row.text("local"),
        drivers=row.texts("drivers"),
        uses=row.texts("uses"),
    )


def disks_of(guest: str, rows: Mapping[str, Any]) -> tuple[BlockDisk, ...]:
    """The disks that a client guest has as blocks. MachineError for an answer that makes no sense."""
    if "disks" not in rows:
        # A guest that was built by an earlier version.
        return ()
    return tuple(
        BlockDisk(guest, row.text("disk"), row.text("block"), row.texts("uses"))
        for row in Row(guest, "", rows).rows("disks")
    )


def controllers_of(guest: str, rows: Mapping[str, Any]) -> tuple[Controller, ...]:
    """A client guest's virtual controllers. MachineError for an answer that makes no sense."""
    return tuple(
        Controller(
            guest=guest,
            index=row.number("index", 0xFFFF),
            present=row.flag("present"),
            usb=row.number("usb", 3, 2),
            ports=row.number("ports", 0xFFFF),
            used=row.numbers("used", 0xFFFF),
        )
        for row in Row(guest, "", rows).rows("controllers")
    )
