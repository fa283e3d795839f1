# SPDX-License-Identifier: BSD-2-Clause
"""A client by hand, for tests of the server: it sends bytes and collects what comes back."""

from __future__ import annotations

import socket
from collections.abc import Callable, Generator
from typing import Any

from router.usbip.protocol import handshake
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from tests.usbip.fakes import run_until

Serve = Callable[[str], tuple[Server, Address]]
ALL = "allow any all"


class Peer:
    """A client by hand: sends bytes, collects what comes back while the loop runs."""

    def __init__(self, loop: Loop, address: Address) -> None:
        self.loop = loop
        self.sock = socket.create_connection((address.host, address.port))
        self.sock.setblocking(False)
        self.data = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        self.sock.send(data)

    def poll(self) -> None:
        try:
            part = self.sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            part = b""
        self.data += part
        self.closed = self.closed or not part

    def receive(self, size: int) -> bytes:
        """The next bytes, or what came before the end."""

        def enough() -> bool:
            self.poll()
            return len(self.data) >= size or self.closed

        run_until(self.loop, enough)
        data, self.data = self.data[:size], self.data[size:]
        return data

    def end(self) -> bytes:
        """All that comes until the server closes."""

        def over() -> bool:
            self.poll()
            return self.closed

        run_until(self.loop, over)
        self.sock.close()
        return self.data


Connect = Callable[[Address], Peer]


def parse(steps: Generator[int, bytes, Any], data: bytes) -> Any:
    """Runs a client's steps over recorded bytes; all of them must be used."""
    need = next(steps)
    while True:
        part, data = data[:need], data[need:]
        assert len(part) == need
        try:
            need = steps.send(part)
        except StopIteration as result:
            assert data == b""
            return result.value


def names(server: Server) -> list[str]:
    return [busid for busid, export in server.exports.items() if export.claimed]


def importing(peer: Connect, address: Address, busid: str = "1-1") -> Peer:
    """A client that has imported a device and read the reply."""
    client = peer(address)
    client.send(handshake.pack_import_request(busid))
    client.receive(320)
    return client
