# SPDX-License-Identifier: BSD-2-Clause
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.usbip.engines.kernel import KernelEngine
from router.usbip.policy.file import parse_policy
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.log import MAX_BURST, budget
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from tests.usbip.by_hand import Connect, Peer
from tests.usbip.fakes import FakeKernel
from tests.usbip.world import Between


@pytest.fixture(autouse=True)
def whole_log() -> None:
    """Each test begins with all the log lines that a daemon may write at once."""
    budget.lines, budget.left_out = MAX_BURST, 0


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeKernel]:
    """The server's kernel."""
    kernel = FakeKernel(tmp_path / "host")
    yield kernel
    kernel.close()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[FakeKernel]:
    """The client's kernel."""
    kernel = FakeKernel(tmp_path / "guest")
    yield kernel
    kernel.close()


@pytest.fixture
def serve(loop: Loop, host: FakeKernel) -> Iterator[Callable[[str], tuple[Server, Address]]]:
    """Starts a server with that policy on a loopback port; the address to reach it."""
    servers: list[Server] = []

    def start(policy: str) -> tuple[Server, Address]:
        server = Server(loop, [KernelEngine(loop, host)], parse_policy(policy))
        servers.append(server)
        port = server.listen(Address("tcp", "127.0.0.1", 0)).getsockname()[1]
        server.rescan()
        return server, Address("tcp", "127.0.0.1", port)

    yield start
    for server in servers:
        server.close(release=True)


@pytest.fixture
def peer(loop: Loop) -> Iterator[Connect]:
    peers: list[Peer] = []

    def make(address: Address) -> Peer:
        peers.append(Peer(loop, address))
        return peers[-1]

    yield make
    for one in peers:
        one.sock.close()


@pytest.fixture
def between(loop: Loop) -> Iterator[Between]:
    between = Between(loop)
    yield between
    between.close()
