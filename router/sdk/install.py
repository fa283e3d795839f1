# SPDX-License-Identifier: BSD-2-Clause
"""Installs a Microkit SDK: download, unpack aside, verify, rename. Until the digest is verified nothing of it runs.

Into ~/.local/share/microkit-sdk-VERSION, where router looks for SDKs. Next to it, on the same file system:
`.microkit-sdk-VERSION.unpacking` while an install works (what a killed one leaves is removed by the next), and
`.microkit-sdk.lock`, which one install at a time holds. Downloads that broke off are in router's cache folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from router import files
from router.errors import HostError
from router.microkit.sdk import LEFTOVERS, Sdk, read_sdk, survey, user_share
from router.sdk import releases
from router.sdk.digest import Digest, parse_digest
from router.sdk.download import Limits, check_address, download
from router.sdk.nar import nar_sha256
from router.sdk.unpack import Bounds, unpack

Report = Callable[[str, str], None]
"""Hears the step (`downloading`, `unpacking`, `checking`) and how far it is, often."""


LIMITS, BOUNDS = Limits(), Bounds()


@dataclass(frozen=True)
class Request:
    """What is to be installed."""

    version: str
    source: str | Path
    """An https address, or a file."""
    digest: Digest

    @property
    def folder(self) -> str:
        """The archive's top folder, and the name under which it is installed."""
        return f"microkit-sdk-{self.version}"

    @property
    def where(self) -> str:
        """The source in a few words."""
        return str(self.source) if isinstance(self.source, Path) else urlsplit(self.source).hostname or self.source


@dataclass(frozen=True)
class Places:
    """Where things go."""

    share: Path
    """Where SDKs are kept, ~/.local/share."""
    cache: Path
    """Where a download is kept until it is verified."""


def request(version: str | None = None, source: str | None = None, digest: str | None = None) -> Request:
    """What the user asks for: of the newest version, from Microkit's release page, with the table's digest by default.

    source: an https address or the path of an archive. digest: in place of the table's; see `parse_digest`.
    DescriptionError for what is malformed and for a version without a digest, HostError on an unknown platform.
    """
    version = releases.check_version(releases.NEWEST if version is None else version)
    wanted = parse_digest(digest) if digest is not None else releases.known_digest(version)
    if source is None:
        return Request(version, releases.address(version), wanted)
    if "://" in source:
        return Request(version, check_address(source), wanted)
    return Request(version, Path(source), wanted)


def places(environment: Mapping[str, str] = os.environ) -> Places:
    """This user's."""
    return Places(user_share(environment), files.cache_folder() / "sdk")


def already_installed(wanted: Request, environment: Mapping[str, str] = os.environ) -> Sdk | None:
    """The whole SDK of that version in any place where router looks, or None."""
    return next((sdk for sdk in survey(environment)[0] if sdk.path.name == wanted.folder), None)


def install(
    wanted: Request,
    places: Places,
    report: Report = lambda *_: None,
    *,
    limits: Limits = LIMITS,
    bounds: Bounds = BOUNDS,
    context: ssl.SSLContext | None = None,
) -> Sdk:
    """Install it, and give the SDK. One that is there already, and whole, is given as it is.

    context: what judges the server's certificate (default: the system's authorities).
    HostError in one sentence when it cannot be done; nothing is then left but, after a download that broke off, the
    part that came, in the cache.
    """
    destination = places.share / wanted.folder
    with _sentences(), _lock(places.share):
        if os.path.lexists(destination):
            return _existing(destination)
        for left in places.share.glob(LEFTOVERS):
            shutil.rmtree(left)
        if isinstance(wanted.source, Path):
            with wanted.source.open("rb") as archive:
                if os.fstat(archive.fileno()).st_size > limits.size:
                    raise HostError(f"the archive is larger than {limits.size / 1e6:.0f} MB", where=wanted.where)
                return _unpack_verified(archive, wanted, destination, report, bounds)
        key = hashlib.sha256(f"{wanted.source}\n{wanted.digest}".encode()).hexdigest()[:16]
        part = places.cache / f"{wanted.folder}-{key}.part"
        download(wanted.source, part, _bytes(report, "downloading"), limits=limits, context=context)
        try:
            with part.open("rb") as archive:
                return _unpack_verified(archive, wanted, destination, report, bounds)
        finally:
            # Whether it was good or not: a bad one must not be what the next try goes on from.
            part.unlink(missing_ok=True)
            part.with_name(part.name + ".etag").unlink(missing_ok=True)


def _existing(path: Path) -> Sdk:
    try:
        return read_sdk(path)
    except HostError as error:
        raise HostError(
            f"it is there already, and is not a whole SDK: {error.message}",
            hint=f"remove it, then install again: rm -r {path}",
            where=str(path),
        ) from None


def _unpack_verified(archive: BinaryIO, wanted: Request, destination: Path, report: Report, bounds: Bounds) -> Sdk:
    staging = destination.with_name(f".{wanted.folder}.unpacking")
    staging.mkdir(mode=0o700)
    try:
        top = staging / wanted.folder
        of_archive = unpack(archive, staging, wanted.folder, bounds, _bytes(report, "unpacking"))
        found = of_archive
        if not wanted.digest.of_archive:
            found = nar_sha256(top, lambda size: _bytes(report, "checking")(size, None)) if top.is_dir() else b""
        if found != wanted.digest.value:
            raise HostError(
                f"the digest is wrong: {Digest(found, wanted.digest.of_archive)}, expected {wanted.digest}",
                hint="nothing of it is kept; try again, or ask the archive's publisher for its digest",
                where=wanted.where,
            )
        sdk = read_sdk(top)
        if sdk.version != wanted.version.partition("-")[0].partition("+")[0]:
            raise HostError(f"the archive holds Microkit SDK {sdk.version}, not {wanted.version}", where=wanted.where)
        top.rename(destination)
    except HostError as error:
        error.where = wanted.where
        raise
    finally:
        shutil.rmtree(staging)
    return read_sdk(destination)


def _bytes(report: Report, step: str) -> Callable[..., None]:
    def tell(size: int, total: int | None = None) -> None:
        report(step, f"{size / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{size / 1e6:.1f} MB")

    return tell


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """What the operating system refuses, as a HostError."""
    try:
        yield
    except OSError as error:
        room = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise HostError(
            f"the SDK cannot be installed: {error.strerror or error}",
            hint="free 1 GB there" if room else None,
            where=None if error.filename is None else os.fsdecode(error.filename),
        ) from None


@contextlib.contextmanager
def _lock(share: Path) -> Iterator[None]:
    """The right to install below `share`; HostError when another process has it."""
    share.mkdir(parents=True, exist_ok=True)
    path = share / ".microkit-sdk.lock"
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 32).decode("ascii", "replace").strip()
            os.close(handle)
            raise HostError(
                f"another router sdk install is at work{f' (process {holder})' if holder.isdigit() else ''}",
                hint="wait until it has ended",
                where=str(share),
            ) from None
        except BaseException:
            os.close(handle)
            raise
        # The holder before may have removed the file between our opening and our locking it.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                break
        os.close(handle)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)
