# SPDX-License-Identifier: BSD-2-Clause
"""Files and folders of ours: written whole or not at all, locked, and out of other users' reach.

Standard library only: it runs on lab hosts as well.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

from router.errors import HostError, reason

PRIVATE = 0o600
MAX_LOG_BYTES = 16 << 20
"""Bytes of a log before it is rotated. One older part is kept, so a log takes at most twice as much."""
LOCK_POLL_S = 0.1


def write(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Write a file aside and rename it over `path`; missing folders are made. An equal file is left untouched.

    OSError names the file, also when the disk is full.
    """
    raw = data.encode() if isinstance(data, str) else data
    if path.is_file() and path.stat().st_size == len(raw) and path.read_bytes() == raw:
        return
    with written_aside(path, mode) as aside:
        aside.write_bytes(raw)


def copy(source: Path, path: Path, *, mode: int = 0o644) -> None:
    """Copy a file aside and rename it over `path`; nothing is done when `path` has the same content already."""
    if path.is_file() and path.stat().st_size == source.stat().st_size and sha256(path) == sha256(source):
        return
    with written_aside(path, mode) as aside, open_regular(source) as reading, aside.open("wb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. OSError for all else: a pipe may never answer, a device may never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        what = os.strerror(code) if stat.S_ISDIR(mode) else "it is not a file, but a device or a pipe"
        raise OSError(code, what, str(path))
    return os.fdopen(descriptor, "rb")


def read_regular(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes; OSError otherwise."""
    with open_regular(path) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has over {limit} bytes", str(path))
    return data


@contextlib.contextmanager
def written_aside(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """An empty file of mode 0600 in the folder of `path`, which takes its place when the context ends well.

    A device or a pipe is not replaced but written to: it is yielded itself.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        with naming(path):
            yield path
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    aside = Path(name)
    try:
        with naming(path):
            yield aside
            aside.chmod(mode)
            aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_new(path: Path, text: str) -> bool:
    """Write a file aside and give it its name; False, and nothing is written, where something has that name already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with naming(path), os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).chmod(0o644)
        os.link(name, path)
    except FileExistsError:
        return False
    finally:
        Path(name).unlink()
    return True


def output_folder(path: Path) -> Path:
    """The folder, made where it is missing. OSError when nothing can be written into it: asked before the work."""
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return path


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of a write does not name the file (a full disk, for one): here it names `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def has_content(path: Path) -> bool:
    """Whether it is a file with something in it. A log that is rotated meanwhile may be gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size > 0


def sha256_of(data: bytes) -> str:
    """The SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal. A file that has not changed is read once by this process.

    That is told by the time of its last change (ctime), which no program can set back.
    """
    status = path.stat()
    return _sha256(path.absolute(), status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)


def sha256_now(path: Path) -> str:
    """The same of a regular file, read now whatever was read before: for what is judged, and not only compared."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@cache
def _sha256(path: Path, device: int, number: int, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where downloads and built images are kept (XDG Base Directory Specification)."""
    return _base("XDG_CACHE_HOME", ".cache")


def state_folder() -> Path:
    """Where the program remembers things between its runs (XDG Base Directory Specification)."""
    return _base("XDG_STATE_HOME", ".local/state")


def _base(variable: str, otherwise: str) -> Path:
    named = os.environ.get(variable)
    return (Path(named) if named else Path.home() / otherwise) / "router"


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Take the file's flock without waiting; False when another process has it. Closing the file releases it."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_lock(descriptor: int, waiting: Callable[[], None] = lambda: None) -> None:
    """Wait for the file's flock; `waiting` is called once when another process has it."""
    if not try_lock(descriptor):
        waiting()
        while not try_lock(descriptor):
            time.sleep(LOCK_POLL_S)


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path` while the context lasts; `waiting` is called once when another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE)
    try:
        take_lock(descriptor, waiting)
        yield
    finally:
        os.close(descriptor)


def private_folder(path: Path) -> Path:
    """The folder, made with mode 0700 (and folders on the way); HostError when another user could write there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        status = path.lstat()
    except OSError as error:
        raise HostError(f"cannot use this folder: {reason(error)}", where=str(error.filename or path)) from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise HostError(
            "this folder is not ours alone: another user could lead its files elsewhere",
            hint="it must be a real folder (not a link) that only you can write to: remove it",
            where=str(path),
        )
    return path


def open_private(path: Path, *, append: bool = False) -> BinaryIO:
    """Open a file for writing that only its owner reads (mode 0600); a symbolic link is refused (OSError ELOOP)."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_APPEND if append else os.O_TRUNC)
    descriptor = os.open(path, flags, PRIVATE)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
        os.fchmod(descriptor, PRIVATE)
    return os.fdopen(descriptor, "ab" if append else "wb", buffering=0)


class Log:
    """A log of bytes from a machine: mode 0600, appended to, and rotated so that it takes 2 * `limit` bytes at most.

    A device or a pipe in its place is written to, and never renamed.

    What is written after `close`, or when the disk is full, is dropped: a log never ends a run.
    """

    def __init__(self, path: Path, limit: int = MAX_LOG_BYTES) -> None:
        """OSError when the file cannot be opened."""
        self.path = path
        self._limit = limit
        self._file = open_private(path, append=True)
        status = os.fstat(self._file.fileno())
        self._size = status.st_size
        self._rotates = stat.S_ISREG(status.st_mode)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Append, in a new file when this one is full."""
        if self._file.closed:
            return
        with contextlib.suppress(OSError):
            if self._rotates and self._size and self._size + len(data) > self._limit:
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                self._file.close()
                self._file = open_private(self.path)
                self._size = 0
            self._file.write(data[-self._limit :])
            self._size += min(len(data), self._limit)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
