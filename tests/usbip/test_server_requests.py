# SPDX-License-Identifier: BSD-2-Clause
"""What the server answers to a client's requests, and to clients that stop, hold on or come back."""

from __future__ import annotations

import struct

import pytest

from router.usbip.client.exchange import import_steps
from router.usbip.protocol import handshake
from router.usbip.runtime.event_loop import Loop
from tests.usbip.by_hand import ALL, Connect, Serve, importing, parse
from tests.usbip.fakes import FakeKernel, run_for, run_until


def test_an_old_peer_gets_an_answer_that_it_can_print(serve: Serve, peer: Connect) -> None:
    _, address = serve(ALL)
    client = peer(address)
    client.send(struct.pack(">HHI", 0x0106, 0x8003, 0) + b"1-1".ljust(32, b"\0"))
    assert client.end() == struct.pack(">HHI", 0x0111, 0x0003, handshake.ST_NA)


def test_an_unknown_request_is_refused(serve: Serve, peer: Connect) -> None:
    _, address = serve(ALL)
    client = peer(address)
    client.send(struct.pack(">HHI", 0x0111, 0x8077, 0))
    assert client.end() == struct.pack(">HHI", 0x0111, 0x0077, handshake.ST_NA)


def test_a_request_of_one_byte_at_a_time_is_understood(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect
) -> None:
    host.plug("1-1")
    _, address = serve(ALL)
    client = peer(address)
    for byte in handshake.pack_import_request("1-1"):
        client.send(bytes([byte]))
        loop.run_once(0.02)
    assert parse(import_steps("1-1"), client.receive(320)).busid == "1-1"


def test_a_client_that_stops_in_the_middle_is_let_go(
    loop: Loop,
    serve: Serve,
    peer: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.usbip.server.conversation.REQUEST_TIMEOUT_S", 0.1)
    server, address = serve(ALL)
    client = peer(address)
    client.send(b"\x01\x11\x80")
    assert client.end() == b""
    assert not server.conversations


@pytest.mark.parametrize(("descriptors", "share"), [(20000, 32), (64, 4)])
def test_one_client_cannot_take_all_connections(
    loop: Loop, serve: Serve, peer: Connect, monkeypatch: pytest.MonkeyPatch, descriptors: int, share: int
) -> None:
    monkeypatch.setattr("router.usbip.runtime.net.max_descriptors", lambda: descriptors)
    server, address = serve(ALL)
    flood = [peer(address) for _ in range(share + 10)]

    def refused() -> int:
        for one in flood:
            one.poll()
        return sum(one.closed for one in flood)

    run_until(loop, lambda: refused() >= 10)
    run_for(loop, 0.2)
    assert refused() == 10
    assert len(server.conversations) == share


def test_a_watching_client_gets_grants_ports_and_changes(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect
) -> None:
    host.plug("1-1")
    server, address = serve("allow 127.0.0.1 path 1-1 port 4\nallow 127.0.0.1 path 1-2")
    watcher = peer(address)
    watcher.send(handshake.pack_watch_request([]))
    assert watcher.receive(12) == handshake.pack_watch_reply()

    def heard() -> list[tuple[str, int, int]]:
        length = handshake.unpack_watch_length(watcher.receive(4))
        return [
            (device.busid, port, state) for device, port, state in handshake.unpack_watch_list(watcher.receive(length))
        ]

    assert heard() == [("1-1", 4, handshake.WATCH_AVAILABLE)]
    host.plug("1-2", devnum=3)
    server.rescan()
    assert heard() == [("1-1", 4, handshake.WATCH_AVAILABLE), ("1-2", 0, handshake.WATCH_AVAILABLE)]
    importing(peer, address)
    assert heard()[0] == ("1-1", 4, handshake.WATCH_YOURS)
    host.unplug("1-2")
    server.rescan()
    assert heard() == [("1-1", 4, handshake.WATCH_YOURS)]


def test_a_client_back_from_a_crash_frees_what_it_held(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect
) -> None:
    host.plug("1-1", devnum=2)
    host.plug("1-2", devnum=3)
    server, address = serve(ALL)
    for busid in ("1-1", "1-2"):
        importing(peer, address, busid)
    watcher = peer(address)
    watcher.send(handshake.pack_watch_request([0x10003]))
    run_until(loop, lambda: not server.exports["1-1"].session)
    assert (set(host.sockets), bool(server.exports["1-2"].session)) == ({"1-2"}, True)
