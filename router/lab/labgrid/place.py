# SPDX-License-Identifier: BSD-2-Clause
"""A board that is a place of labgrid: acquired for as long as we use it, released at the end in any way.

A place stays acquired when the job that acquired it dies. The lock file of the place, on the computer of the job, then
still says who it was: the next job of that user and computer takes the place over, and others read it in an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from router.errors import DescriptionError, MachineError, RouterError
from router.lab.board import Board, Labgrid
from router.lab.labgrid import resources
from router.lab.labgrid.session import Refused, Session, address, me
from router.lab.lock import BoardLock, Holder, holder_of, left_by
from router.lab.probe import Probed
from router.lab.taken import Taken, wired
from router.words import age_text, did_you_mean, listing

PORT_TIMEOUT_S = 15.0
"""For an exporter to open the serial port of a place that has been acquired."""


def key(labgrid: Labgrid) -> str:
    """What the lock of a place is called on this computer: one name, whichever name the coordinator is given."""
    host, _, port = address(labgrid.coordinator).rpartition(":")
    return f"labgrid {_resolved(host.strip('[]'))}:{port} {labgrid.place}"


def _resolved(host: str) -> str:
    """A host's address; `localhost` for each of this computer's; the name itself where nothing knows it."""
    if host == socket.gethostname():
        return "localhost"
    try:
        found = sorted({str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return host
    return "localhost" if any(map(_is_here, found)) else found[0]


def _is_here(ip: str) -> bool:
    """Whether an address is this computer's: only such a one can be bound."""
    if ipaddress.ip_address(ip.partition("%")[0]).is_loopback:
        return True
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind((ip, 0))
    except OSError:
        return False
    return True


def where(labgrid: Labgrid) -> str:
    """A place, in words."""
    return f"labgrid place {labgrid.place} at {address(labgrid.coordinator)}"


@contextmanager
def place(
    board: Board,
    lock: BoardLock,
    *,
    wait: float = 0.0,
    steal: bool = False,
    waiting: Callable[[str], None] | None = None,
) -> Iterator[Taken]:
    """Acquire the board's place and release it at the end; use it as it is where this user has acquired it already.

    lock: of the place, held. wait: seconds for a place that another has. steal: release it for them. waiting: called
    with the holder before waiting. MachineError names the holder of a place that is busy.
    """
    labgrid = _labgrid(board)
    with Session(address(labgrid.coordinator)) as session:
        one = _Place(board, labgrid, session, lock)
        try:
            one.obtain(wait, steal, waiting)
            yield one.use()
        except BaseException:
            with contextlib.suppress(RouterError):  # the first error is the one to tell
                one.release()
            raise
        one.release()


def look(board: Board) -> Probed:
    """Who has the board's place, and what prevents its use. Nothing is acquired."""
    labgrid = _labgrid(board)
    try:
        with Session(address(labgrid.coordinator)) as session:
            found = _find(session, labgrid)
            offers = list(session.offered(found))
            troubles: list[str] = []
            try:
                port = resources.serial_of(offers, labgrid)
                if not port[2].avail:
                    troubles.append(f"the exporter's serial port {port[1]} is not there")
            except RouterError as error:
                troubles.append(error.message)
            held = None
            if found.acquired is not None:
                here = holder_of(key(labgrid))
                held = str(here) if here is not None else _holder(found, left_by(key(labgrid)))
            actions = wired(_with_power(board, labgrid, offers)).actions
    except RouterError as error:
        held, actions, troubles = None, (), [f"{error.message} ({error.hint})" if error.hint else error.message]
    return Probed(name=board.name, serial=where(labgrid), held=held, power=actions, troubles=tuple(troubles))


def preview(board: Board) -> tuple[Board, str | None]:
    """The board with the power commands that it would be switched by, and what stands before names of files.

    None: the place has no TFTP folder. Nothing is acquired. Errors as of `place`.
    """
    labgrid = _labgrid(board)
    with Session(address(labgrid.coordinator)) as session:
        offers = list(session.offered(_find(session, labgrid)))
    folder = resources.tftp_of(offers)
    shown = dataclasses.replace(_with_power(board, labgrid, offers), serial=where(labgrid))
    return shown, resources.prefix_of(folder) if folder is not None else None


class _Place:
    """One place that we are after. holder: who has it, HOST/USER, once it can be used."""

    def __init__(self, board: Board, labgrid: Labgrid, session: Session, lock: BoardLock) -> None:
        self._board = board
        self._labgrid = labgrid
        self._session = session
        self._lock = lock
        self._holder = ""
        self._ours = False

    def obtain(self, wait: float, steal: bool, waiting: Callable[[str], None] | None) -> None:
        """Acquire it; or find that this user has acquired it, or was allowed to use it, by other means."""
        session, name = self._session, self._labgrid.place
        deadline = time.monotonic() + wait
        told = False
        while True:
            found = _find(session, self._labgrid)
            if found.acquired is None:
                if self._acquire(found):
                    return
                continue
            left = self._lock.left if _is_of(found, self._lock.left) else None
            if left is not None and found.acquired == me():
                if waiting is not None:
                    waiting(f"held by {_holder(found, left)}; taking it over")
                session.release(name, found.acquired)
                continue
            if me() in (found.acquired, *found.allowed):
                self._holder = found.acquired
                return
            if steal:
                session.release(name, found.acquired)
                continue
            if time.monotonic() >= deadline:
                raise MachineError(
                    f"board '{self._board.name}' (place '{name}') is held by {_holder(found, left)}",
                    hint="--wait SECONDS waits for it, --steal releases the place for them",
                )
            if waiting is not None and not told:
                told = True
                waiting(f"held by {_holder(found, left)}")
            with session.changed:
                session.changed.wait(min(0.5, max(0.0, deadline - time.monotonic())))
            session.check()

    def _acquire(self, found: Any) -> bool:
        """Acquire a free place; False when another was quicker."""
        session, name = self._session, self._labgrid.place
        if next(session.offered(found), None) is None:
            resources.serial_of((), self._labgrid)
        # Before asking: after Ctrl-C and after a request without an answer, the coordinator may have done it.
        self._holder, self._ours = me(), True
        try:
            session.acquire(name)
        except Refused:
            self._ours = False
            session.sync()
            if _find(session, self._labgrid).acquired is None:
                raise
            return False
        self._lock.note(_find(session, self._labgrid).changed)
        return True

    def use(self) -> Taken:
        """The board, with what its place offers."""
        offers = self._offers()
        found = resources.serial_of(offers, self._labgrid)
        serial = resources.url_of(resources.resource_of(found))
        board = dataclasses.replace(_with_power(self._board, self._labgrid, offers), serial=serial)
        folder = resources.tftp_of(offers)
        stage = resources.stage(folder) if folder is not None else None
        return dataclasses.replace(wired(board), stage=stage, check=self._check)

    def _offers(self) -> list[resources.Offer]:
        """What the place offers, once the exporter has opened the serial port."""
        session = self._session

        def ready() -> list[resources.Offer]:
            offers = list(session.offered(_find(session, self._labgrid)))
            _, _, entry = resources.serial_of(offers, self._labgrid)
            return offers if entry.avail and entry.args.get("port") is not None else []

        end = time.monotonic() + PORT_TIMEOUT_S
        while not (offers := ready()):
            if time.monotonic() > end:
                raise MachineError(
                    "the exporter has not opened the serial port",
                    hint="is the adapter plugged in there, and ser2net installed? the exporter's log says more",
                    where=where(self._labgrid),
                )
            with session.changed:
                session.changed.wait(0.5)
            session.check()
        return offers

    def _check(self) -> None:
        self._session.check()
        found = self._session.places.get(self._labgrid.place)
        if found is None or found.acquired != self._holder:
            now = "it is free" if found is None or found.acquired is None else f"{found.acquired} has it"
            raise MachineError(
                f"place '{self._labgrid.place}' was released under us, and {now}",
                hint="`labgrid-client release --kick` does that, and so does `--steal`",
                where=where(self._labgrid),
            )

    def release(self) -> None:
        """Release it, if we have acquired it. MachineError when it may still be acquired."""
        if not self._ours:
            return
        self._session.release(self._labgrid.place, self._holder)
        self._ours = False
        self._lock.note(None)


def _labgrid(board: Board) -> Labgrid:
    assert board.labgrid is not None, "only for boards that are places"
    return board.labgrid


def _find(session: Session, labgrid: Labgrid) -> Any:
    """labgrid's Place; DescriptionError when there is none of that name."""
    found = session.places.get(labgrid.place)
    if found is None:
        session.check()
        names = sorted(session.places)
        raise DescriptionError(
            f"labgrid has no place '{labgrid.place}'",
            hint=did_you_mean(labgrid.place, names) or f"{session.coordinator} has {listing(names, 'and')}",
            where="labgrid: place",
        )
    return found


def _is_of(found: Any, left: Holder | None) -> bool:
    """Whether a place is still acquired from when this holder, who has died, acquired it."""
    return left is not None and left.acquired == found.changed


def _holder(found: Any, left: Holder | None) -> str:
    """Who has a place, and since when."""
    host, _, user = str(found.acquired).partition("/")
    ago = f"acquired {age_text(time.time() - found.changed)} ago"
    if left is not None and _is_of(found, left):
        return f"a job that died: {user}@{host} (process {left.pid}, {left.doing}), {ago}"
    return f"{user}@{host}, {ago}"


def _with_power(board: Board, labgrid: Labgrid, offers: list[resources.Offer]) -> Board:
    """The board, switched by its place's power port where it has one, else by the commands of the lab file."""
    found = resources.power_of(offers, labgrid, address(labgrid.coordinator))
    return dataclasses.replace(board, power=found) if found is not None else board
