# SPDX-License-Identifier: BSD-2-Clause
"""A release page on loopback, over TLS with a certificate of its own, that can misbehave; and archives to put on it."""

from __future__ import annotations

import datetime
import gzip
import io
import ipaddress
import re
import ssl
import tarfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from router.microkit.sdk import PARTS


@dataclass
class Behaviour:
    """How the server answers. Sizes in bytes of what follows the headers."""

    body: bytes = b""
    ranges: bool = True
    """Whether it heeds Range."""
    etag: str | None = '"one"'
    length: bool = True
    """Whether it says how long the answer is."""
    cuts: list[int] = field(default_factory=list)
    """For each request in turn: after so many bytes the connection ends."""
    stall_after: int | None = None
    """After so many bytes nothing more comes, until the client has gone. -1: not even headers."""
    pause: float = 0.0
    """Seconds before each tenth of the answer."""
    status: int | None = None
    redirect: str | None = None
    hold: threading.Event = field(default_factory=threading.Event)
    """Ends all stalls."""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-made certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    # Authorities are looked up by their names, so each has its own.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"loopback {folder.name}"[:64])])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


class ReleaseServer:
    """Serves `behaviour.body` under every path. `seen`: the headers of each request so far."""

    def __init__(self, folder: Path) -> None:
        self.behaviour = Behaviour()
        self.seen: list[Mapping[str, str]] = []
        self.authority, key = certificate(folder)
        self.context = ssl.create_default_context(cafile=str(self.authority))
        self._server = _Server(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority, key)
        # The handshake is made in the connection's own thread, at the first read.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}/sdk.tar.gz"

    def __enter__(self) -> ReleaseServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.behaviour.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 60

            def do_GET(self) -> None:
                outer.seen.append(dict(self.headers))
                answer(self, outer.behaviour)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or does not trust us, is part of the tests."""


def answer(request: BaseHTTPRequestHandler, how: Behaviour) -> None:
    """One answer."""
    request.close_connection = True
    if how.stall_after == -1:
        how.hold.wait(60)
        return
    if how.redirect is not None:
        request.send_response(302)
        request.send_header("Location", how.redirect)
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    if how.status is not None:
        request.send_error(how.status)
        return
    body, start = how.body, 0
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    fresh = request.headers.get("If-Range") in (None, how.etag)
    if asked and how.ranges and fresh:
        start = int(asked[1])
        if start >= len(body):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    else:
        request.send_response(200)
    if how.etag is not None:
        request.send_header("ETag", how.etag)
    if how.length:
        request.send_header("Content-Length", str(len(body) - start))
    request.end_headers()
    rest = body[start:]
    if how.cuts:
        rest = rest[: how.cuts.pop(0)]
    if how.stall_after is not None:
        request.wfile.write(rest[: how.stall_after])
        how.hold.wait(60)
        return
    if how.pause:
        step = len(rest) // 10 + 1
        for place in range(0, len(rest), step):
            time.sleep(how.pause)
            request.wfile.write(rest[place : place + step])
        return
    request.wfile.write(rest)


Craft = Callable[[tarfile.TarFile], None]


def entry(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields: Any) -> None:
    """Add one entry, with any field as a header can have it."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data))


def sdk_files(version: str) -> dict[str, tuple[bytes, int]]:
    """What an SDK with one kernel has: path below its folder → content and mode."""
    files = {"VERSION": (f"{version}\n".encode(), 0o644), "bin/microkit": (b"#!/bin/sh\nexit 1\n", 0o755)}
    for part in PARTS:
        files[f"board/qemu_virt_aarch64/release/{part}"] = (part.encode() * 100, 0o600)
    return files


def archive(version: str = "2.3.0", craft: Craft | None = None, *, whole: bool = True, padding: bytes = b"") -> bytes:
    """The archive of an SDK. craft: adds more entries; whole: with an SDK's own files; padding: a file's content."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        top = f"microkit-sdk-{version}"
        entry(tar, top, type=tarfile.DIRTYPE, mode=0o775)
        if padding:
            entry(tar, f"{top}/doc/manual.pdf", padding)
        for name, (data, mode) in sdk_files(version).items() if whole else ():
            entry(tar, f"{top}/{name}", data, mode=mode)
        if craft is not None:
            craft(tar)
    return buffer.getvalue()
