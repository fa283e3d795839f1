# SPDX-License-Identifier: BSD-2-Clause
"""A place that we may have acquired is released, wherever an error or a signal comes. Needs no labgrid."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from router.errors import MachineError, RouterError, Stopped
from router.lab.board import Board, Labgrid
from router.lab.labgrid import place as places
from router.lab.labgrid import resources
from router.lab.labgrid.session import Refused, Session, me
from router.lab.lock import BoardLock

PLACE = Labgrid(place="desk", coordinator="127.0.0.1:1")
BOARD = Board(name="desk", kind="fake", serial="", labgrid=PLACE, load="ymodem")


class Coordinator:
    """A session whose coordinator has one free place. acquiring: what happens when it is asked for the place."""

    def __init__(self, acquiring: Callable[[Any], None]) -> None:
        self.place = SimpleNamespace(acquired=None, allowed=set(), changed=1.0)
        self.places = {"desk": self.place}
        self.changed = threading.Condition()
        self.coordinator = "127.0.0.1:1"
        self.released: list[str] = []
        self._acquiring = acquiring

    def __enter__(self) -> Coordinator:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def acquire(self, place: str) -> None:
        self._acquiring(self.place)

    def release(self, place: str, holder: str) -> None:
        self.released.append(holder)
        self.place.acquired = None

    def sync(self) -> None:
        """Everything is known."""

    def check(self) -> None:
        """It is there."""

    def offered(self, place: object) -> Any:
        entry = SimpleNamespace(cls=resources.SERIAL, args={"host": "bench", "port": 1}, extra={}, avail=True)
        return iter([("serial", "bench/desk/NetworkSerialPort/serial", entry)])


def acquired_then(error: RouterError | None) -> Callable[[Any], None]:
    """It is acquired for us, and then the answer is this error."""

    def acquiring(place: Any) -> None:
        place.acquired = me()
        if error is not None:
            raise error

    return acquiring


def use(coordinator: Coordinator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take the place; the error that comes of it is raised."""
    monkeypatch.setenv("ROUTER_LOCK_DIR", str(tmp_path / "locks"))
    monkeypatch.setattr(places, "Session", lambda _: coordinator)
    lock = BoardLock("desk", "a test", key=places.key(PLACE))
    with lock, places.place(BOARD, lock):
        raise AssertionError("no serial port can be opened here")


@pytest.mark.parametrize("error", [MachineError("no answer in time"), Stopped("stopped by SIGINT")])
def test_a_place_that_was_acquired_although_no_answer_came_is_released(
    error: RouterError, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    coordinator = Coordinator(acquired_then(error))
    with pytest.raises(type(error)) as caught:
        use(coordinator, monkeypatch, tmp_path)
    assert caught.value is error and coordinator.released == [me()]


def test_a_signal_right_after_the_place_was_acquired_releases_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def note(self: BoardLock, acquired: float | None) -> None:
        if acquired is not None:
            raise Stopped("stopped by SIGTERM")

    monkeypatch.setattr(BoardLock, "note", note)
    coordinator = Coordinator(acquired_then(None))
    with pytest.raises(Stopped):
        use(coordinator, monkeypatch, tmp_path)
    assert coordinator.released == [me()] and coordinator.place.acquired is None


def test_a_place_that_the_coordinator_refuses_is_not_released(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(place: Any) -> None:
        raise Refused("not reserved for us")

    coordinator = Coordinator(refuse)
    with pytest.raises(Refused):
        use(coordinator, monkeypatch, tmp_path)
    assert coordinator.released == []


def test_an_update_that_labgrid_cannot_read_ends_the_session_and_says_so() -> None:
    session = object.__new__(Session)
    session.coordinator = "bench:20408"
    session.changed = threading.Condition()
    session._gone, session._unreadable, session._synced, session._outgoing = False, None, 0, queue.Queue()
    session._grpc = SimpleNamespace(RpcError=RuntimeError)
    session._call = iter([SimpleNamespace(updates=[SimpleNamespace(WhichOneof=lambda _: "place", place=None)])])
    session._receive()
    with pytest.raises(MachineError, match=r"bench:20408 sent what labgrid cannot read: AttributeError"):
        session.check()


def test_every_name_of_this_computer_gives_a_place_the_same_lock() -> None:
    names = ["127.0.0.1", "localhost", "127.0.0.1:20408", "[::1]:20408", socket.gethostname()]
    keys = {places.key(Labgrid(place="desk", coordinator=name)) for name in names}
    assert keys == {"labgrid localhost:20408 desk"}


def test_other_coordinators_and_ports_give_other_locks() -> None:
    names = ["203.0.113.1", "203.0.113.2", "127.0.0.1:20409", "name.invalid", "127.0.0.1"]
    keys = [places.key(Labgrid(place="desk", coordinator=name)) for name in names]
    assert len(set(keys)) == len(names)
    assert keys[0] == "labgrid 203.0.113.1:20408 desk" and keys[3] == "labgrid name.invalid:20408 desk"
