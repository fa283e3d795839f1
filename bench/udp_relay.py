# SPDX-License-Identifier: BSD-2-Clause
"""A UDP relay that loses, repeats and reorders TFTP packets at given rates: bad networks for tests and benchmarks."""

from __future__ import annotations

import random
import select
import socket
import threading
from dataclasses import dataclass
from types import TracebackType

HELD_SECONDS = 0.002  # how long a packet is kept back to let the next one overtake it


@dataclass(frozen=True, slots=True)
class Impairment:
    """Probabilities per packet, each way. The seed makes a run repeatable as far as timing allows."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    seed: int = 1


class UdpRelay:
    """Passes one TFTP client's packets to the server at `upstream` and back; a context manager that runs a thread.

    Clients ask `port` of `address` (0: a free one). The server's transfer port is learned from its first answer, as
    a client does.
    """

    def __init__(
        self, upstream: tuple[str, int], impairment: Impairment, address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.lost = 0
        self._upstream = upstream
        self._impairment = impairment
        self._random = random.Random(impairment.seed)
        self._stop = threading.Event()
        self._address = address
        self._listen = _udp(address, port)
        self.port: int = self._listen.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> UdpRelay:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._listen.close()

    def _run(self) -> None:
        with _udp(self._address) as near, _udp("127.0.0.1") as far:
            client: tuple[str, int] | None = None
            server = self._upstream
            held: list[tuple[socket.socket, bytes, tuple[str, int]]] = []
            sockets = [self._listen, near, far]
            while not self._stop.is_set():
                ready = select.select(sockets, [], [], HELD_SECONDS if held else 0.1)[0]
                if not ready:
                    for sock, packet, to in held:
                        _send(sock, packet, to)
                    held.clear()
                for sock in ready:
                    try:
                        packet, sender = sock.recvfrom(65536)
                    except ConnectionError:
                        continue  # an ICMP error: the other side has finished
                    if sock is self._listen and sender != client:
                        client, server = sender, self._upstream
                    if sock is far:
                        server = sender
                    if client is not None:
                        self._pass(held, *((near, packet, client) if sock is far else (far, packet, server)))

    def _pass(
        self,
        held: list[tuple[socket.socket, bytes, tuple[str, int]]],
        sock: socket.socket,
        packet: bytes,
        to: tuple[str, int],
    ) -> None:
        impairment, chance = self._impairment, self._random.random
        if chance() < impairment.loss:
            self.lost += 1
            return
        if chance() < impairment.reorder:
            held.append((sock, packet, to))
            return
        _send(sock, packet, to)
        if chance() < impairment.duplicate:
            _send(sock, packet, to)
        while held:
            _send(*held.pop())


def _udp(address: str, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return sock


def _send(sock: socket.socket, packet: bytes, to: tuple[str, int]) -> None:
    try:
        sock.sendto(packet, to)
    except ConnectionError:
        return  # an ICMP error for an earlier packet: a lossy network loses this one too
