# SPDX-License-Identifier: BSD-2-Clause
"""Downloads one file over https: bounded, resumed where it broke off, and never waiting long for nothing.

The bytes are whatever the server sends: the caller judges them by their digest.
"""

from __future__ import annotations

import queue
import re
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from router.display import safe
from router.errors import DescriptionError, HostError

CHUNK = 1 << 16
ELSEWHERE = "download it elsewhere and install the file: router sdk install --from FILE"


@dataclass(frozen=True)
class Limits:
    """How much a server may send, and how long it may send nothing."""

    size: int = 1 << 30
    """Bytes; more than an unpacked SDK of 100 configurations takes."""
    stall_timeout_s: float = 30.0
    """Without a byte: also while names are resolved, while connecting, and in the headers."""
    attempts: int = 5
    """Connections; each one after the first needs that the one before brought something."""


Report = Callable[[int, int | None], None]
"""Hears how many bytes there are, and how many there will be if the server said so."""


def check_address(url: str) -> str:
    """The address, if it is an https one; DescriptionError otherwise."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname) and url.isascii() and url.isprintable()
        _ = parts.port  # raises for nonsense
    except ValueError:
        good = False
    if not good or " " in url:
        raise DescriptionError(f"not an https address: {url[:200]!r}", hint="write https://HOST/… or name a file")
    return url


def download(
    url: str,
    part: Path,
    report: Report = lambda *_: None,
    *,
    limits: Limits = Limits(),
    context: ssl.SSLContext | None = None,
) -> None:
    """Bring the file at `url` to `part`, going on from what `part` holds already.

    context: what judges the server's certificate (default: the system's authorities).
    HostError when it cannot be had. `part` then keeps what came, for the next try, unless that is too large or nothing.
    """
    transfer = _Transfer(check_address(url), part, report, limits, context or ssl.create_default_context())
    try:
        for attempt in range(1, limits.attempts + 1):
            before = transfer.size
            try:
                transfer.attempt()
                return
            except _Broken as error:
                if attempt == limits.attempts or transfer.size <= before:
                    raise _cannot(url, f"the connection broke: {error}", transfer.size) from None
    except _TooLarge:
        transfer.discard()
        raise HostError(
            f"the download is refused: it is larger than {limits.size / 1e6:.0f} MB", where=_host(url)
        ) from None
    finally:
        if transfer.size == 0:
            transfer.discard()


class _Broken(Exception):
    """The connection ended before the file did."""


class _TooLarge(Exception):
    """More than the limit."""


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirections, to https only."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        try:
            target = urljoin(req.full_url, headers.get("Location", ""))
            secure = urlsplit(target).scheme == "https"
        except ValueError:
            secure = False
        if not secure:
            fp.close()
            raise HostError(
                "the download is refused: the server redirects to an address without https", where=_host(req.full_url)
            )
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


class _Transfer:
    """The file so far, and the attempts to get the rest."""

    def __init__(self, url: str, part: Path, report: Report, limits: Limits, context: ssl.SSLContext) -> None:
        self._url = url
        self._part = part
        self._validator = part.with_name(part.name + ".etag")
        self._report = report
        self._limits = limits
        # Nothing in this opener can open http, ftp or file addresses.
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPSHandler(context=context),
            _HttpsOnly(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            self._opener.add_handler(handler)
        self.size = part.stat().st_size if part.is_file() else 0

    def discard(self) -> None:
        """Forget what came."""
        self.size = 0
        self._part.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    def attempt(self) -> None:
        """One connection. _Broken when it ends early, HostError when the server refuses or is silent."""
        headers = {"User-Agent": "router-sdk-install", "Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self._validator.is_file():
                headers["If-Range"] = self._validator.read_text()
        stream = _Stream(self._opener, urllib.request.Request(self._url, headers=headers), self._limits.stall_timeout_s)
        try:
            self._receive(stream)
        except urllib.error.HTTPError as error:
            error.close()
            self._refused(error)
        except TimeoutError:
            raise _cannot(self._url, f"no byte came for {self._limits.stall_timeout_s:g} s", self.size) from None
        except (OSError, HTTPException, ValueError) as error:  # ValueError: of names and addresses that cannot be
            if isinstance(error, OSError) and error.filename is not None:
                raise  # our own disk
            if stream.started:
                raise _Broken(_reason(error)) from None
            raise _cannot(self._url, _reason(error), self.size) from None
        finally:
            stream.close()

    def _receive(self, stream: _Stream) -> None:
        answer = stream.headers()
        total = self._begin(answer)
        if total is not None and total > self._limits.size:
            raise _TooLarge
        self._report(self.size, total)
        self._part.parent.mkdir(parents=True, exist_ok=True)
        with self._part.open("ab" if self.size else "wb") as file:
            while chunk := stream.chunk():
                if self.size + len(chunk) > self._limits.size:
                    raise _TooLarge
                try:
                    file.write(chunk)
                    file.flush()
                except OSError as error:
                    raise OSError(error.errno, error.strerror, str(self._part)) from None
                self.size += len(chunk)
                self._report(self.size, total)
        if total is not None and self.size != total:
            raise _Broken(f"{self.size} of {total} bytes came")

    def _begin(self, answer: _Answer) -> int | None:
        """Start anew, or go on where the server does; the size of the whole file, or None."""
        length = answer.headers.get("Content-Length", "")
        rest = int(length) if re.fullmatch(r"[0-9]{1,15}", length) else None
        if answer.status == HTTPStatus.PARTIAL_CONTENT and self.size:
            span = re.fullmatch(
                r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)", answer.headers.get("Content-Range", "")
            )
            if span is not None and int(span[1]) == self.size:
                if span[2] != "*":
                    return int(span[2])
                return self.size + rest if rest is not None else None
            self.discard()
            raise _cannot(self._url, "the server sends another part than was asked for", 0)
        self.discard()
        etag = answer.headers.get("ETag", "")
        if re.fullmatch(r'"[\x21\x23-\x7e]{1,200}"', etag):
            self._validator.parent.mkdir(parents=True, exist_ok=True)
            self._validator.write_text(etag)
        return rest

    def _refused(self, error: urllib.error.HTTPError) -> None:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self.size:
            if error.headers.get("Content-Range") == f"bytes */{self.size}":
                return  # all of it was there
            self.discard()
            self.attempt()
            return
        try:
            meaning = f" ({HTTPStatus(error.code).phrase})"
        except ValueError:
            meaning = ""
        raise _cannot(self._url, f"the server answers {error.code}{meaning}", self.size)


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Message


class _Stream:
    """What a server sends, read by a thread: resolving a name, connecting and TLS have no time limit that holds."""

    def __init__(self, opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float) -> None:
        self.started = False
        self._timeout = timeout
        self._items: queue.Queue[_Answer | bytes | BaseException] = queue.Queue(8)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(opener, request), daemon=True, name="download")
        self._thread.start()

    def headers(self) -> _Answer:
        """Status and headers; what opening raised; TimeoutError."""
        answer = self._next()
        assert isinstance(answer, _Answer), "the headers come first"
        self.started = True
        return answer

    def chunk(self) -> bytes:
        """Some bytes, none at the end; what reading raised; TimeoutError."""
        data = self._next()
        assert isinstance(data, bytes), "after the headers come bytes"
        return data

    def close(self) -> None:
        """The thread ends with its next byte or its own time limit; nothing that it still reads goes anywhere."""
        self._closed.set()

    def _next(self) -> _Answer | bytes:
        try:
            item = self._items.get(timeout=self._timeout)
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(item, BaseException):
            raise item
        return item

    def _work(self, opener: urllib.request.OpenerDirector, request: urllib.request.Request) -> None:
        try:
            # Twice, so that the reader's limit is the one that is noticed.
            with opener.open(request, timeout=2 * self._timeout) as response:
                self._put(_Answer(response.status, response.headers))
                while not self._closed.is_set():
                    chunk = response.read1(CHUNK)
                    self._put(chunk)
                    if not chunk:
                        break
        except BaseException as error:  # whatever it is, the reader gets it
            self._put(error)

    def _put(self, item: _Answer | bytes | BaseException) -> None:
        while not self._closed.is_set():
            try:
                self._items.put(item, timeout=0.2)
                return
            except queue.Full:
                continue


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _cannot(url: str, why: str, size: int) -> HostError:
    hint = f"{size / 1e6:.1f} MB are kept: the same command goes on from there" if size else ELSEWHERE
    return HostError(f"cannot download from {_host(url)}: {why}", hint=hint)


def _reason(error: BaseException) -> str:
    """Why a connection failed, in a few printable words."""
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, BaseException) else OSError(str(error.reason))
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return safe(text[:120])
