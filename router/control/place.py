# SPDX-License-Identifier: BSD-2-Clause
"""Where the control socket of a system is, and the lock by which a system runs once."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from router import files
from router.errors import HostError


def folder() -> Path:
    """`$XDG_RUNTIME_DIR/router`, or a folder of the user's own below the temporary folder; made with mode 0700.

    HostError when another user could write or look there.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    path = (
        Path(base) / "router" if base and Path(base).is_dir() else Path(tempfile.gettempdir()) / f"router.{os.getuid()}"
    )
    files.private_folder(path)
    if path.lstat().st_mode & 0o077:
        raise HostError(
            "other users can look into this folder, so no control socket can be in it",
            hint=f"chmod 700 {path}, or set XDG_RUNTIME_DIR to a folder of your own",
            where=str(path),
        )
    return path


def socket_path(system: str) -> Path:
    """Where the socket of a system is, whether it runs or not."""
    return folder() / f"{system}.sock"


class Claim:
    """The right to run a system of that name, held until the context ends or the process dies.

    HostError on entering when another process has it. `socket` is then free to be bound.
    """

    def __init__(self, system: str) -> None:
        self.system = system
        self.socket = socket_path(system)
        self._path = self.socket.with_suffix(".lock")
        self._file = -1

    def __enter__(self) -> Self:
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, files.PRIVATE)
            if not files.try_lock(handle):
                # A shared lock can be had: the other one is shared too, of a process in `running` or `sweep`.
                if files.try_lock(handle, shared=True):
                    os.close(handle)
                    time.sleep(0.01)
                    continue
                owner = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
                os.close(handle)
                raise HostError(
                    f"the system '{self.system}' runs already, in process {owner}",
                    hint=f"talk to it (router usb list --system {self.system}), or stop it: kill -INT {owner}",
                )
            # The one that had it before may have removed the file between our opening and our locking it.
            if _is_at(handle, self._path):
                break
            os.close(handle)
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        # We hold the lock, so a socket that is still there is a leftover of a run that was killed.
        self.socket.unlink(missing_ok=True)
        self._file = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def running() -> list[str]:
    """Names of the systems that this user runs now, sorted."""
    found = []
    for path in sorted(folder().glob("*.lock")):
        try:
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue
        try:
            if not files.try_lock(handle, shared=True) and path.with_suffix(".sock").exists():
                found.append(path.stem)
        finally:
            os.close(handle)
    return found


def own_name(system: str) -> str:
    """A name for a run of the system that no other process takes, so that several can run at once."""
    return f"{system}.{os.getpid()}"


def sweep() -> None:
    """Remove the sockets and locks that killed processes have left under names of their own (`own_name`).

    A process may be about to take a lock that is free still. So the locks are shared ones, for which `Claim` waits; and
    one process sweeps at a time, so that a file is still the one that was locked when it is removed.
    """
    place = folder()
    sweeping = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if files.try_lock(sweeping):
            for path in place.glob("[a-z]*.*.lock"):  # a board's name begins with @
                _sweep_one(path)
    finally:
        os.close(sweeping)


def _sweep_one(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        if files.try_lock(handle, shared=True) and _is_at(handle, path):
            path.with_suffix(".sock").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
