# SPDX-License-Identifier: BSD-2-Clause
"""One board, one user: a lock that names its holder, and can be waited for or stolen.

A file per board under the run-time directory, held by flock while its process lives, so that a crash frees it. The
file says who holds it, from where and since when. It lies where every user of the host sees it (/run/lock or /tmp).
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from router.errors import HostError, MachineError
from router.lab.records import RecordError, from_json

MOMENT = 8.0
"""Seconds that are waited for a holder that leaves by itself, or that is just taking or leaving the board."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a board. since: ISO 8601, UTC. doing: the command in words.

    leaves: it ends by itself as soon as nobody needs it, so that a moment's wait is worth it.
    """

    user: str
    host: str
    pid: int
    since: str
    doing: str
    leaves: bool = False

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

    user, host: for whom, when that is not whoever runs this (a lab host's lock names the remote engineer). told is
    called once with the holder when there is one to wait for. MachineError names the holder when the board is busy.
    """

    def __init__(
        self,
        name: str,
        doing: str,
        *,
        wait: float = 0.0,
        steal: bool = False,
        owner: tuple[str, str] | None = None,
        told: Callable[[Holder], None] | None = None,
        leaves: bool = False,
    ) -> None:
        self.path = lock_folder() / f"{name.replace('/', '_')}.lock"
        user, host = owner or me()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._holder = Holder(user=user, host=host, pid=os.getpid(), since=now, doing=doing, leaves=leaves)
        self._name = name
        self._wait = wait
        self._steal = steal
        self._told = told
        self._descriptor = -1

    def __enter__(self) -> BoardLock:
        self._descriptor = _open(self.path)
        try:
            self._acquire()
        except BaseException:
            os.close(self._descriptor)
            raise
        text = json.dumps(asdict(self._holder)).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def _acquire(self) -> None:
        deadline = time.monotonic() + self._wait
        told = stolen = moment = False
        while not _try(self._descriptor):
            holder = _read(self._descriptor)
            if self._steal and not stolen and holder is not None:
                stolen = True
                deadline = max(deadline, time.monotonic() + 10)  # it cleans up behind itself first
                _stop(holder, self.path)
            elif holder is not None and not told and self._told is not None and self._wait > 0:
                told = True
                self._told(holder)
            if (holder is None or holder.leaves) and not moment:
                moment = True
                deadline = max(deadline, time.monotonic() + MOMENT)
            if time.monotonic() >= deadline:
                who = f"held by {holder}" if holder else "held by somebody who is just taking or leaving it"
                raise MachineError(
                    f"board '{self._name}' is {who}", hint="--wait SECONDS waits for it, --steal takes it away"
                )
            time.sleep(0.1)


def holder_of(name: str) -> Holder | None:
    """Who holds the board now, or None."""
    path = lock_folder() / f"{name.replace('/', '_')}.lock"
    if not path.exists():
        return None
    descriptor = _open(path)
    try:
        return None if _try(descriptor) else _read(descriptor)
    finally:
        os.close(descriptor)


def me() -> tuple[str, str]:
    """User and host, as the lock names them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return user, socket.gethostname()


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o1777, parents=True, exist_ok=True)
        if path.parent.stat().st_uid == os.geteuid():
            path.parent.chmod(0o1777)
        descriptor = _open_shared(path)
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, 0o666)
    except OSError as error:
        raise HostError(f"cannot use the lock file: {error.strerror}", where=str(path)) from None
    return descriptor


def _open_shared(path: Path) -> int:
    """Open a file in a folder of everybody's; create it only when it is not there.

    With fs.protected_regular set, Linux refuses O_CREAT on other people's files in such folders.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(10):
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, flags)
        with contextlib.suppress(FileExistsError):  # somebody else was quicker
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
    raise FileNotFoundError(2, "it comes and goes", str(path))


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> Holder | None:
    try:
        return from_json(Holder, json.loads(os.pread(descriptor, 4096, 0)))
    except (ValueError, RecordError):
        return None  # caught between two writes


def _stop(holder: Holder, path: Path) -> None:
    """Ask the holder's process to end. It runs on this host even when its engineer does not.

    Anybody can write the file, so the process is stopped only when it really has the file open.
    """
    try:
        opened = [os.path.realpath(entry) for entry in Path(f"/proc/{holder.pid}/fd").iterdir()]
        if str(path.resolve()) not in opened:
            raise HostError(f"process {holder.pid} does not hold the lock that names it", where=str(path))
        os.kill(holder.pid, signal.SIGTERM)
    except (ProcessLookupError, FileNotFoundError):
        return  # it has just ended by itself
    except PermissionError:
        raise HostError(
            f"process {holder.pid} belongs to {holder.user}: not ours to stop", hint="ask them, or use --wait"
        ) from None
