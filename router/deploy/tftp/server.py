# SPDX-License-Identifier: BSD-2-Clause
"""The server: listens, admits or refuses, and runs each transfer in a thread with a socket of its own."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from router.deploy.tftp import wire
from router.deploy.tftp.transfer import Transfer, TransferError
from router.errors import HostError

log = logging.getLogger("router.tftp")

MAX_TRANSFERS = 8
REFUSALS_A_SECOND = 20  # answers and log lines for what is refused; the rest of a flood is counted only


@dataclass(frozen=True, slots=True)
class TftpEvent:
    """Something worth telling. kind: request, progress, sent, failed, refused. size and done in bytes."""

    kind: str
    peer: str
    name: str = ""
    text: str = ""
    size: int = 0
    done: int = 0
    seconds: float = 0.0


Listener = Callable[[TftpEvent], None]


def _ignore(_: TftpEvent) -> None:
    """The listener of those who do not want to know."""


class TftpServer:
    """Serves exactly `files` (name asked for → path), read-only, to the addresses in `peers` (None: to all).

    address: the local IPv4 address to listen on. port: UDP; 0 takes a free one. Use it as a context manager: it
    serves from entry to exit. HostError when the port cannot be had.
    """

    def __init__(
        self,
        files: Mapping[str, Path],
        *,
        address: str,
        port: int = 69,
        peers: frozenset[str] | None = None,
        listener: Listener = _ignore,
        max_blksize: int = wire.MAX_BLKSIZE,
        max_window: int = 64,
        max_transfers: int = MAX_TRANSFERS,
    ) -> None:
        self.files: Mapping[str, Path] = dict(files)
        self.address = address
        self.port = port
        self.peers = peers
        self.refused = 0
        self._listener = listener
        self._limits = (max_blksize, max_window)
        self._max_transfers = max_transfers
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._live: dict[tuple[str, int], threading.Thread] = {}
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._budget, self._budget_at = float(REFUSALS_A_SECOND), 0.0

    def __enter__(self) -> TftpServer:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.bind((self.address, self.port))
        except OSError as error:
            sock.close()
            raise HostError(
                f"TFTP cannot listen on {self.address} port {self.port}: {error.strerror}",
                hint=_bind_advice(error, self.address, self.port),
            ) from None
        sock.settimeout(0.2)
        self.port = sock.getsockname()[1]
        self._socket = sock
        self._thread = threading.Thread(target=self._serve, args=(sock,), name="tftp", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            live = list(self._live.values())
        for thread in live:
            thread.join()
        if self._socket is not None:
            self._socket.close()

    def _serve(self, sock: socket.socket) -> None:
        while not self._stop.is_set():
            try:
                packet, peer = sock.recvfrom(2048)
            except TimeoutError:
                continue
            except OSError as error:  # an ICMP error for an earlier answer; the socket is still good
                log.debug("tftp: %s", error)
                continue
            self._admit(sock, packet, peer)

    def _admit(self, sock: socket.socket, packet: bytes, peer: tuple[str, int]) -> None:
        with self._lock:
            if peer in self._live:
                return  # the client repeats a request that is being answered
            busy = len(self._live) >= self._max_transfers
        try:
            if self.peers is not None and peer[0] not in self.peers:
                raise wire.RequestError(wire.ACCESS, "this deployment is for another board")
            request = wire.parse_request(packet)
            path = self.files.get(request.name.removeprefix("/"))
            if path is None:
                raise wire.RequestError(wire.NOT_FOUND, "no such file in this deployment")
            if busy:
                raise wire.RequestError(wire.UNDEFINED, "too many transfers at once, ask again later")
        except wire.RequestError as error:
            self._refuse(sock, peer, error)
            return
        thread = threading.Thread(target=self._answer, args=(request, path, peer), name="tftp-send", daemon=True)
        with self._lock:
            self._live[peer] = thread
        thread.start()

    def _refuse(self, sock: socket.socket, peer: tuple[str, int], error: wire.RequestError) -> None:
        self.refused += 1
        now = time.monotonic()
        self._budget = min(REFUSALS_A_SECOND, self._budget + (now - self._budget_at) * REFUSALS_A_SECOND)
        self._budget_at = now
        if self._budget < 1:
            return
        self._budget -= 1
        self._tell(TftpEvent("refused", peer[0], text=str(error)))
        log.warning("tftp: refused %s port %d: %s", *peer, error)
        try:
            sock.sendto(wire.error(error.code, str(error)), peer)
        except OSError as failure:
            log.debug("tftp: cannot answer %s port %d: %s", *peer, failure)

    def _tell(self, event: TftpEvent) -> None:
        self._listener(event)

    def _answer(self, request: wire.Request, path: Path, peer: tuple[str, int]) -> None:
        name = request.name
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                sock.bind((self.address, 0))
                sock.connect(peer)
                self._send_file(sock, request, path, peer)
        except (TransferError, OSError) as error:
            log.warning("tftp: %s to %s: %s", name, peer[0], error)
            self._tell(TftpEvent("failed", peer[0], name, str(error)))
        finally:
            with self._lock:
                self._live.pop(peer, None)

    def _send_file(self, sock: socket.socket, request: wire.Request, path: Path, peer: tuple[str, int]) -> None:
        # In memory, not mapped: a build that rewrites the file meanwhile must not reach into this transfer.
        data = memoryview(path.read_bytes())
        try:
            terms = wire.negotiate(request, len(data), *self._limits)
        except wire.RequestError as error:
            sock.send(wire.error(error.code, str(error)))
            raise TransferError(f"refused: {error}") from None
        options = " ".join(f"{key}={value}" for key, value in terms.accepted)
        self._tell(TftpEvent("request", peer[0], request.name, options, size=len(data)))
        reported = time.monotonic()

        def progress(done: int) -> None:
            nonlocal reported
            if (now := time.monotonic()) - reported > 0.25:
                reported = now
                self._tell(TftpEvent("progress", peer[0], request.name, size=len(data), done=done))

        tally = Transfer(sock, data, terms, self._stop.is_set, progress).run()
        text = f"{tally.resent} blocks sent again" if tally.resent else ""
        self._tell(TftpEvent("sent", peer[0], request.name, text, tally.size, tally.bytes_sent, tally.seconds))


def _bind_advice(error: OSError, address: str, port: int) -> str:
    if error.errno == errno.EACCES:
        return (
            f"port {port} is privileged: set `tftp: {{port: 6969}}` for a boot loader that honours tftpdstp, "
            "or allow it (sysctl net.ipv4.ip_unprivileged_port_start=69)"
        )
    if error.errno == errno.EADDRINUSE:
        return "another TFTP server has the port: name its folder with `tftp: {root: …}`, or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"no interface of this host has the address {address}: see `ip address`"
    return "see `tftp` in the lab file's reference"
