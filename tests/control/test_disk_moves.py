# SPDX-License-Identifier: BSD-2-Clause
"""`router usb attach` and `detach` for disks that go as blocks, against guests that answer as told."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from router.errors import MachineError
from router.usb import actions, find
from router.usb.facts import BlockDisk
from router.usb.text import list_lines, where
from router.usb.view import snapshot

CLIENTS = {"a": "10.77.0.3", "b": "10.77.0.4", "c": "10.77.0.5"}


class Guests:
    """A server with one disk, two guests that can have it and one that cannot. uses: what its holder says."""

    def __init__(self) -> None:
        self.holder: str | None = "a"
        self.uses: list[str] = []
        self.deaf: set[str] = set()
        self.stuck = False
        self.parts: list[dict[str, Any]] = []
        self.asked: list[tuple[str, ...]] = []

    @contextmanager
    def connect(self) -> Iterator[Guests]:
        yield self

    def state(self) -> dict[str, Any]:
        names = {"server": "10.77.0.2", **CLIENTS}
        rows = [
            {
                "name": name,
                "role": "client" if name in CLIENTS else "server",
                "address": address,
                "usb": {"version": 3, "ports": 8},
                "up": True,
            }
            for name, address in names.items()
        ]
        return {"system": "disks", "guests": rows, "rules": []}

    def execute(
        self, guest: str, command: str, timeout: float = 60.0, on_output: Callable[[bytes], None] | None = None
    ) -> tuple[int, bytes]:
        if guest in self.deaf:
            return 1, b"router-usbip: error: out of order\n"
        if "until ls " in command:
            assert "/dev/disk/by-router/data" in command
            return (0 if self.holder == guest else 9), b""
        if "until ! ls " in command:
            return (0 if self.holder != guest else 9), b""
        if command.startswith("dmesg"):
            return 0, b"[ 1.0] router: guest server: usbip: cannot withdraw data from 10.77.0.3: Device busy\n"
        return 0, self.program(guest, tuple(shlex.split(command)[1:]))

    def program(self, guest: str, words: tuple[str, ...]) -> bytes:
        names = {address: name for name, address in CLIENTS.items()}
        match words:
            case ("status", "--json"):
                return json.dumps({"devices": [self.device()]}).encode()
            case ("ports", "--json"):
                mine = [{"disk": "data", "block": "nvme0n1", "uses": self.uses}] if guest == self.holder else []
                return json.dumps({"ports": [], "controllers": [], "disks": mine}).encode()
            case ("grant", address, "1-1", *_):
                self.holder = self.holder if self.stuck else names[address]
            case ("revoke", _, "1-1"):
                self.holder = None
        self.asked.append(words)
        return b""

    def device(self) -> dict[str, Any]:
        client = CLIENTS.get(self.holder or "")
        texts = {"device": "46f4:0001", "manufacturer": "Q", "product": "Disk", "serial": "A1", "busid": "1-1"}
        numbers = {"busnum": 1, "devnum": 2, "speed": 3, "class": [0, 0, 0], "interfaces": [[8, 6, 80]]}
        given = {"granted": [], "taken": [], "exported": client is not None, "client": client}
        return {
            **texts,
            **numbers,
            **given,
            "disk": "data",
            "parts": self.parts,
            "clients": [CLIENTS["a"], CLIENTS["b"]],
        }


@pytest.fixture
def guests() -> Guests:
    return Guests()


def test_a_disk_is_taken_by_its_name_and_given_in_one_step(guests: Guests) -> None:
    place = actions.attach(guests.connect, "b", "data", take=True)
    assert isinstance(place, BlockDisk) and where(place) == "nvme0n1 is the disk data"
    assert guests.asked == [("grant", "10.77.0.4", "1-1", "--take")]
    assert actions.candidates(snapshot(guests.connect), find.device(snapshot(guests.connect), "data")) == ["a", "b"]
    assert "b, as blocks: data" in "\n".join(list_lines(snapshot(guests.connect)))


def test_a_disk_is_detached_and_then_free_for_any_guest_with_a_port(guests: Guests) -> None:
    assert actions.detach(guests.connect, "a", "Disk") == BlockDisk("a", "data", "nvme0n1")
    assert guests.asked == [("revoke", "10.77.0.3", "1-1")] and guests.holder is None
    actions.attach(guests.connect, "b", "1-1")
    assert guests.holder == "b"


def test_a_disk_in_use_is_refused_by_name_unless_forced(guests: Guests) -> None:
    guests.uses = ["nvme0n1p1 on /mnt"]
    calls: tuple[Callable[[], object], ...] = (
        lambda: actions.attach(guests.connect, "b", "data", take=True),
        lambda: actions.detach(guests.connect, "a", "data"),
    )
    for call in calls:
        with pytest.raises(MachineError, match=r"1-1 \(Q Disk\) is in use in 'a': nvme0n1p1 on /mnt") as caught:
            call()
        assert "router exec a 'umount PLACE'; with --force unwritten data is lost" in str(caught.value.hint)
    assert not guests.asked
    actions.attach(guests.connect, "b", "data", take=True, force=True)
    assert guests.holder == "b"


def test_a_holder_that_does_not_say_whether_it_uses_the_disk_keeps_it_unless_forced(guests: Guests) -> None:
    guests.deaf = {"a"}
    with pytest.raises(MachineError, match=r"'a' has 1-1 .* and does not say whether it uses it"):
        actions.attach(guests.connect, "b", "data", take=True)
    actions.attach(guests.connect, "b", "data", take=True, force=True)
    assert guests.holder == "b"


@pytest.mark.parametrize(
    ("guest", "number", "message", "hint"),
    [
        ("a", 0, "'a' has 1-1 (Q Disk) already, as the disk 'data'", None),
        ("b", 0, "1-1 (Q Disk) is held by guest 'a', as the disk 'data'", "router usb attach b 1-1 --take"),
        ("b", 3, "1-1 (Q Disk) goes as blocks, and is on no port of a virtual controller", "leave --port out"),
        ("c", 0, "'c' has no port for disks in 'server', and that is fixed while it runs", "c -> server tcp/4423"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    guests: Guests, guest: str, number: int, message: str, hint: str | None
) -> None:
    with pytest.raises(MachineError) as caught:
        actions.attach(guests.connect, guest, "data", number)
    assert caught.value.message == message and (hint or "") in str(caught.value.hint or "")
    assert not guests.asked


def test_parts_of_a_disk_stay_with_their_guests(guests: Guests) -> None:
    guests.parts = [{"client": CLIENTS["a"], "disk": "data", "exported": True}]
    calls: tuple[Callable[[], object], ...] = (
        lambda: actions.attach(guests.connect, "b", "1-1", take=True),
        lambda: actions.detach(guests.connect, "a", "1-1"),
    )
    for call in calls:
        with pytest.raises(MachineError, match="a part stays with its guest"):
            call()
    assert not guests.asked


def test_a_move_that_does_not_end_says_which_step_and_how_to_take_it_back(guests: Guests) -> None:
    guests.stuck = True
    with pytest.raises(MachineError, match="'server' cannot withdraw it from 'a': cannot withdraw data") as caught:
        actions.attach(guests.connect, "b", "data", take=True)
    assert "router usb attach a 1-1 --take" in str(caught.value.hint)
