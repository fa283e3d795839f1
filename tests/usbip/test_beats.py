# SPDX-License-Identifier: BSD-2-Clause
"""Transports without keepalive: each end finds out by beats on the watch that the other one is dead, and no sooner."""

from __future__ import annotations

import functools
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.errors import HostError
from router.usbip.client import exchange, liveness
from router.usbip.client.keep_attached import KeepAttached
from router.usbip.client.vhci import Vhci
from router.usbip.engines.kernel import KernelEngine
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import handshake
from router.usbip.protocol.device import Device
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server import conversation
from router.usbip.server.server import Server
from tests.usbip.by_hand import ALL, Connect, Peer, Serve, importing
from tests.usbip.fakes import FakeKernel, run_for, run_until
from tests.usbip.test_client import OtherServer

INTERVAL_S = 0.05


class WithoutKeepalive(Address):
    """An address of loopback that is treated as one of vsock."""

    @property
    def has_keepalive(self) -> bool:
        return False


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "BEAT_INTERVAL_S", INTERVAL_S)
    monkeypatch.setattr(liveness, "BEAT_INTERVAL_S", INTERVAL_S)
    monkeypatch.setattr(exchange, "CONNECT_TIMEOUT_S", 0.1)


@pytest.fixture
def keep(loop: Loop, guest: FakeKernel, tmp_path: Path) -> Iterator[Callable[[Address], KeepAttached]]:
    keepers: list[KeepAttached] = []

    def start(address: Address) -> KeepAttached:
        there = WithoutKeepalive("tcp", address.host, address.port)
        keepers.append(KeepAttached(loop, there, Vhci(guest, str(tmp_path / "state"))))
        keepers[-1].start()
        return keepers[-1]

    yield start
    for keeper in keepers:
        keeper.close()


Keep = Callable[[Address], KeepAttached]


def watching(peer: Connect, address: Address, held: list[int]) -> Peer:
    """A client that watches and has got its first list."""
    client = peer(address)
    client.send(handshake.pack_watch_request(held))
    client.receive(12)
    take_list(client)
    return client


def take_list(client: Peer) -> bytes:
    (length,) = struct.unpack(">I", client.receive(4))
    return client.receive(length)


class Unreachable:
    """A listener at that address that takes no connection: its queue is full, as a frozen machine answers nothing."""

    def __init__(self, address: Address) -> None:
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address.host, address.port))
        self.listener.listen(0)
        self.waiting = [socket.socket() for _ in range(4)]
        for sock in self.waiting:
            sock.setblocking(False)
            sock.connect_ex((address.host, address.port))

    def close(self) -> None:
        for sock in (self.listener, *self.waiting):
            sock.close()


def freeze(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server neither reads nor listens; no connection of it is closed."""
    monkeypatch.setattr(conversation.Conversation, "_heard_beat", lambda self: None)
    server._listeners.close()


def test_each_beat_is_answered_with_the_list(host: FakeKernel, serve: Serve, peer: Connect) -> None:
    host.plug("1-1")
    _, address = serve(ALL)
    client = peer(address)
    client.send(handshake.pack_watch_request([]))
    client.receive(12)
    first = take_list(client)
    for _ in range(3):
        client.send(handshake.BEAT)
        assert take_list(client) == first
    assert len(first) == 4 + handshake.WATCH_RECORD_SIZE


def test_a_client_that_stops_its_beats_loses_its_sessions_and_others_keep_theirs(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.plug("1-1", devnum=2)
    host.plug("1-2", devnum=3)
    server, address = serve(ALL)
    importing(peer, address)
    client = watching(peer, address, [server.exports["1-1"].device.devid])
    client.send(handshake.BEAT)
    server.exports["1-2"].session, server.exports["1-2"].client = server.exports["1-1"].session, "10.77.0.9"
    run_until(loop, lambda: server.exports["1-1"].session is None)
    assert server.exports["1-2"].session, "another client's"
    server.exports["1-2"].session = None
    assert not server.conversations


def test_a_client_that_never_began_to_send_beats_is_left_alone(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect
) -> None:
    host.plug("1-1")
    server, address = serve(ALL)
    importing(peer, address)
    watching(peer, address, [server.exports["1-1"].device.devid])
    run_for(loop, 3 * conversation.MAX_MISSED_BEATS * INTERVAL_S)
    assert server.exports["1-1"].session and len(server.conversations) == 1


def test_a_client_over_vsock_that_dies_before_its_first_beat_loses_its_sessions(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect
) -> None:
    host.plug("1-1")
    server, _ = serve(ALL)
    here, there = socket.socketpair()
    server._converse(there, "vsock:3")
    server.exports["1-1"].session = session = Session()
    server.exports["1-1"].client = "vsock:3"
    here.send(handshake.pack_watch_request([server.exports["1-1"].device.devid]))
    run_until(loop, lambda: session.closed)
    assert not server.conversations
    server.exports["1-1"].session = None
    here.close()


class Session:
    """A device in a client's hands, which notes its end."""

    closed = False

    def close(self) -> None:
        self.closed = True

    leave = close


def test_beats_may_go_on_for_ever_and_a_flood_of_them_ends_the_watch(
    loop: Loop, serve: Serve, peer: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "MAX_LINGER_BYTES", 4)
    server, address = serve(ALL)
    client = watching(peer, address, [])
    (talk,) = server.conversations
    for _ in range(10):
        client.send(handshake.BEAT)
        take_list(client)
        run_until(loop, lambda: talk._lingered == 0)
    assert talk in server.conversations
    client.send(handshake.BEAT * 5)
    assert client.end() == b""


def test_a_server_that_cannot_be_reached_loses_its_ports_and_gets_them_back(
    loop: Loop, host: FakeKernel, guest: FakeKernel, serve: Serve, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.plug("1-1")
    server, address = serve(ALL)
    keeper = keep(address)
    run_until(loop, lambda: keeper.held)
    with monkeypatch.context() as frozen:
        freeze(server, frozen)
        there = Unreachable(address)
        run_until(loop, lambda: not keeper.held)
        there.close()
    assert not guest.ports, "the kernel has let go of the port"
    server.close(release=True)
    again = Server(loop, [KernelEngine(loop, host)], parse_policy(ALL))
    again.listen(address)
    again.rescan()
    run_until(loop, lambda: keeper.held)
    again.close(release=True)


def test_a_server_whose_program_is_held_up_keeps_what_is_attached(
    loop: Loop, host: FakeKernel, guest: FakeKernel, serve: Serve, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernel takes connections, and nobody answers on them."""
    host.plug("1-1")
    server, address = serve(ALL)
    keeper = keep(address)
    run_until(loop, lambda: keeper.held)
    monkeypatch.setattr("router.usbip.client.keep_attached.ANSWER_TIMEOUT_S", 0.1)
    freeze(server, monkeypatch)
    received = requests_without_an_answer(loop, address)
    assert keeper.held and guest.ports
    codes = {handshake.unpack_common(data[:8])[1] for data in received}
    assert codes == {handshake.REQUEST | handshake.OP_WATCH}, "it is not turned to lists, which show no beats"
    (size,) = {len(data) for data in received}
    assert size == len(handshake.pack_watch_request([0])), "no beats before an answer"


def requests_without_an_answer(loop: Loop, address: Address) -> list[bytes]:
    """What comes on some connections, of which none is answered."""
    asked: list[socket.socket] = []
    with socket.create_server((address.host, address.port)) as listener:
        listener.setblocking(False)
        while len(asked) < 2 * liveness.MAX_UNREACHED:
            loop.run_once(0.02)
            try:
                asked.append(listener.accept()[0])
            except BlockingIOError:
                continue
    run_for(loop, 4 * INTERVAL_S)
    received = [sock.recv(4096) for sock in asked]
    for sock in asked:
        sock.close()
    return received


def test_a_server_of_another_program_is_asked_for_its_list(
    loop: Loop, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the connection, as one does that knows no watch."""
    server = OtherServer([Device("2-1", 3, 2, 9, 0x1234, 0x5678, interfaces=((3, 1, 1),))])
    monkeypatch.setattr(server, "answer", functools.partial(read_all_and_answer, server))
    keeper = keep(server.address)
    run_until(loop, lambda: keeper.held)
    assert server.requests[:2] == [handshake.REQUEST | handshake.OP_WATCH, handshake.REQUEST | handshake.OP_DEVLIST]
    server.close()


def read_all_and_answer(server: OtherServer, sock: socket.socket) -> None:
    """An end and no reset, which TCP makes of unread input and vsock does not."""
    if len(sock.recv(4096, socket.MSG_PEEK)) == len(handshake.pack_watch_request([])):
        server.requests.append(handshake.unpack_common(sock.recv(4096)[:8])[1])
        sock.close()
        return
    OtherServer.answer(server, sock)


def test_a_port_that_cannot_be_freed_stays_noted_and_is_tried_again(
    loop: Loop, host: FakeKernel, guest: FakeKernel, serve: Serve, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.plug("1-1")
    server, address = serve(ALL)
    keeper = keep(address)
    run_until(loop, lambda: keeper.held)
    tried: list[int] = []

    def fail(rhport: int) -> None:
        tried.append(rhport)
        raise HostError("cannot detach")

    with monkeypatch.context() as frozen:
        freeze(server, frozen)
        frozen.setattr(keeper.vhci, "detach", fail)
        there = Unreachable(address)
        run_until(loop, lambda: len(tried) >= 2)
        assert list(keeper.held) == ["1-1"] and keeper.vhci.origin(tried[0])
    run_until(loop, lambda: not keeper.held)
    there.close()
    assert not guest.ports


def test_a_server_that_refuses_connections_keeps_what_is_attached(
    loop: Loop, host: FakeKernel, guest: FakeKernel, serve: Serve, keep: Keep
) -> None:
    """Its kernel lives, and its daemon is about to be started again."""
    host.plug("1-1")
    server, address = serve(ALL)
    keeper = keep(address)
    run_until(loop, lambda: keeper.held)
    server.close()
    run_for(loop, 1.5)
    assert keeper.held and guest.ports


def test_what_an_earlier_run_attached_is_given_up_too_when_its_server_is_dead(
    loop: Loop, host: FakeKernel, guest: FakeKernel, serve: Serve, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.plug("1-1")
    server, address = serve(ALL)
    first = keep(address)
    run_until(loop, lambda: first.held)
    first.close()
    freeze(server, monkeypatch)
    there = Unreachable(address)
    second = keep(address)
    assert second.held, "adopted"
    run_until(loop, lambda: not second.held)
    there.close()
    assert not guest.ports
