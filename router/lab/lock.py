# SPDX-License-Identifier: BSD-2-Clause
"""One board, one user: a lock that names its holder, and can be waited for or stolen.

A file per board under the run-time directory, held by flock while its process lives, so that a crash frees it. The
file says who holds it, from where and since when. It lies where every user of the host sees it (/run/lock or /tmp).
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import os
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from router import files
from router.errors import HostError, MachineError
from router.lab.records import RecordError, from_json

HANDOVER_TIMEOUT_S = 8.0
"""For a holder that ends on its own, or that is just taking or leaving the board."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a board. since: ISO 8601, UTC. doing: the command in words.

    leaves: it ends on its own as soon as its last client has gone, so a short wait is worth it. acquired: when the
    place of labgrid was acquired for it (seconds since 1970 by the coordinator's clock), until that has been released.
    """

    user: str
    host: str
    pid: int
    since: str
    doing: str
    leaves: bool = False
    acquired: float | None = None

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (process {self.pid}, {self.doing}) since {self.since}"


def lock_folder() -> Path:
    """Where the locks are: ROUTER_LOCK_DIR, or a folder that all users of this host share."""
    if configured := os.environ.get("ROUTER_LOCK_DIR"):
        return Path(configured)
    shared = Path("/run/lock")
    base = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    return base / "router-boards"


class BoardLock:
    """Hold the board called `name`; wait up to `wait` seconds for it, or `steal` it from its holder.

    owner: user and host, where they differ from this process's (a lab host's lock names the remote engineer).
    waiting: called once with the holder before waiting for it. key: the lock's own name, where the board's is not it.
    MachineError names the holder when the board is busy.

    left: the holder before, where it died without releasing its place of labgrid.
    """

    def __init__(
        self,
        name: str,
        doing: str,
        *,
        wait: float = 0.0,
        steal: bool = False,
        owner: tuple[str, str] | None = None,
        waiting: Callable[[str], None] | None = None,
        leaves: bool = False,
        key: str | None = None,
    ) -> None:
        self.path = _path(key or name)
        self.left: Holder | None = None
        user, host = owner or me()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._holder = Holder(user=user, host=host, pid=os.getpid(), since=now, doing=doing, leaves=leaves)
        self._name = name
        self._wait = wait
        self._steal = steal
        self._waiting = waiting
        self._descriptor = -1

    def __enter__(self) -> BoardLock:
        self._descriptor = _open(self.path)
        try:
            self._acquire()
        except BaseException:
            os.close(self._descriptor)
            raise
        before = _read(self._descriptor)
        if before is not None and before.acquired is not None:
            self.left = before
            self._holder = dataclasses.replace(self._holder, acquired=before.acquired)
        self._write(self._holder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.left is not None:
            self._write(self.left)
        elif self._holder.acquired is None:
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def note(self, acquired: float | None) -> None:
        """Write down when our place of labgrid was acquired (None: it is not, nor is that of the holder before).

        What is noted outlives a process that dies with its place.
        """
        self.left = None
        self._holder = dataclasses.replace(self._holder, acquired=acquired)
        self._write(self._holder)

    def _write(self, holder: Holder) -> None:
        text = json.dumps(dataclasses.asdict(holder)).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def _acquire(self) -> None:
        deadline = time.monotonic() + self._wait
        announced = stolen = extended = False
        while not files.try_lock(self._descriptor):
            holder = _read(self._descriptor)
            if self._steal and not stolen and holder is not None:
                stolen = True
                deadline = max(deadline, time.monotonic() + 10)  # it cleans up first
                _stop(holder, self.path)
            elif holder is not None and not announced and self._waiting is not None and self._wait > 0:
                announced = True
                self._waiting(f"held by {holder}")
            if (holder is None or holder.leaves) and not extended:
                extended = True
                deadline = max(deadline, time.monotonic() + HANDOVER_TIMEOUT_S)
            if time.monotonic() >= deadline:
                who = f"held by {holder}" if holder else "busy: another process is just taking or leaving it"
                raise MachineError(
                    f"board '{self._name}' is {who}", hint="--wait SECONDS waits for it, --steal takes it away"
                )
            time.sleep(0.1)


def holder_of(name: str) -> Holder | None:
    """Who holds the board now, or None."""
    return _look(name)[0]


def left_by(name: str) -> Holder | None:
    """Who held the board last and died without releasing its place of labgrid, or None."""
    return _look(name)[1]


def _look(name: str) -> tuple[Holder | None, Holder | None]:
    path = _path(name)
    if not path.exists():
        return None, None
    descriptor = _open(path)
    try:
        free, holder = files.try_lock(descriptor), _read(descriptor)
    finally:
        os.close(descriptor)
    return (None, holder) if free else (holder, None)


def _path(name: str) -> Path:
    return lock_folder() / f"{name.replace('/', '_')}.lock"


def me() -> tuple[str, str]:
    """User and host, as the lock names them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return user, socket.gethostname()


def _open(path: Path) -> int:
    """The lock file, opened inside its folder so that no link of another user leads elsewhere."""
    try:
        folder = _open_folder(path.parent)
        try:
            descriptor = _open_shared(path.name, folder)
        finally:
            os.close(folder)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.close(descriptor)
            raise HostError("the lock file is a link or a special file", hint="remove it", where=str(path))
        if status.st_uid == os.geteuid():
            os.fchmod(descriptor, 0o666)
    except OSError as error:
        raise HostError(f"cannot use the lock file: {error.strerror}", where=str(path)) from None
    return descriptor


def _open_folder(path: Path) -> int:
    """The folder of the locks, which other users may write to, as in /tmp: sticky, and no symbolic link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = False
    with contextlib.suppress(FileExistsError):
        path.mkdir(0o700)
        made = True
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if made:
        os.fchmod(folder, 0o1777)
    status = os.fstat(folder)
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        os.close(folder)
        raise HostError(
            "other users can remove what is in this folder, so it cannot hold locks",
            hint=f"chmod 1777 {path}, or name another folder by ROUTER_LOCK_DIR",
            where=str(path),
        )
    return folder


def _open_shared(name: str, folder: int) -> int:
    """Open a file in a folder that all users write to; create it only when it is missing.

    With fs.protected_regular set, Linux refuses O_CREAT on other people's files in such folders.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    for _ in range(10):
        with contextlib.suppress(FileNotFoundError):
            return os.open(name, flags, dir_fd=folder)
        with contextlib.suppress(FileExistsError):  # another process was quicker
            return os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
    raise FileNotFoundError(2, "it comes and goes", name)


def _read(descriptor: int) -> Holder | None:
    try:
        return from_json(Holder, json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, RecordError):
        return None  # caught between two writes


def _stop(holder: Holder, path: Path) -> None:
    """Ask the holder's process to end. It runs on this host even when its engineer does not.

    Every user can write the file, so the process is stopped only when it really has the file open.
    """
    try:
        opened = [os.path.realpath(entry) for entry in Path(f"/proc/{holder.pid}/fd").iterdir()]
        if str(path.resolve()) not in opened:
            raise HostError(f"process {holder.pid} does not hold the lock that names it", where=str(path))
        os.kill(holder.pid, signal.SIGTERM)
    except (ProcessLookupError, FileNotFoundError):
        return  # it has just ended
    except PermissionError:
        raise HostError(
            f"process {holder.pid} belongs to {holder.user}: not ours to stop", hint="ask them, or use --wait"
        ) from None
