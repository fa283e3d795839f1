"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path


def write(path: Path, data: bytes | str) -> None:
    """Write a file aside and rename it over `path`; folders on the way are made. An equal file is left untouched."""
    raw = data.encode() if isinstance(data, str) else data
    if path.is_file() and path.stat().st_size == len(raw) and path.read_bytes() == raw:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def copy(source: Path, path: Path) -> None:
    """Copy a file aside and rename it over `path`; nothing is done when `path` is the same age and size already."""
    told = source.stat()
    if path.is_file() and (path.stat().st_size, path.stat().st_mtime_ns) == (told.st_size, told.st_mtime_ns):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        shutil.copyfile(source, aside)
        os.utime(aside, ns=(told.st_atime_ns, told.st_mtime_ns))
        Path(aside).chmod(0o644)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def sha256_of(data: bytes) -> str:
    """The SHA-256 of some bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal. A file of the same size and age is read once."""
    told = path.stat()
    return _sha256(path.absolute(), told.st_size, told.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, age: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where downloads and built images are kept (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "router"
