# SPDX-License-Identifier: BSD-2-Clause
"""The server with the engine `kernel`, over real sockets, on a sysfs tree that plays usbip-host."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from router.usbip.client.exchange import devlist_steps, import_steps
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import handshake
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from tests.usbip.fakes import FakeKernel, run_for, run_until

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


@pytest.fixture
def peer(loop: Loop) -> Iterator[Connect]:
    peers: list[Peer] = []

    def make(address: Address) -> Peer:
        peers.append(Peer(loop, address))
        return peers[-1]

    yield make
    for one in peers:
        one.sock.close()


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


def test_a_granted_device_is_taken_from_its_driver_in_the_kernels_order(host: FakeKernel, serve: Serve) -> None:
    host.plug("1-1")
    serve("allow 127.0.0.1 path 1-1")
    assert host.written == [
        ("bus/usb/drivers/usb/unbind", "1-1"),
        ("bus/usb/drivers/usbip-host/match_busid", "add 1-1"),
        ("bus/usb/drivers/usbip-host/bind", "1-1"),
    ]


def test_an_exported_device_is_announced(host: FakeKernel, serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    host.plug("1-1")
    serve(ALL)
    assert capfd.readouterr().out == "router-usbip: exported 1-1 46f4:0001\n"


def test_a_device_that_is_not_granted_keeps_its_driver(host: FakeKernel, serve: Serve) -> None:
    host.plug("1-1")
    server, _ = serve("allow 127.0.0.1 path 1-2")
    assert (names(server), host.written) == ([], [])


def test_hubs_and_attached_devices_are_not_exported(host: FakeKernel, serve: Serve) -> None:
    host.plug("1-1", device_class=9)
    host.plug("3-1", where="devices/platform/vhci_hcd.0/usb3")
    server, _ = serve(ALL)
    assert names(server) == []


def test_the_list_shows_a_client_what_it_may_have_and_no_more(host: FakeKernel, serve: Serve, peer: Connect) -> None:
    host.plug("1-1")
    host.plug("1-2", vid=0x46D, pid=0xC31C, interfaces=[(3, 1, 1), (3, 0, 0)], devnum=3)
    _, address = serve("allow 127.0.0.1 class hid\nallow 10.77.0.3 class mass-storage")
    client = peer(address)
    client.send(handshake.pack_devlist_request())
    devices = parse(devlist_steps(), client.end())
    assert [(device.busid, device.vidpid, device.interfaces) for device in devices] == [
        ("1-2", "046d:c31c", ((3, 1, 1), (3, 0, 0)))
    ]


def test_an_import_hands_the_socket_over_before_it_is_answered(host: FakeKernel, serve: Serve, peer: Connect) -> None:
    host.plug("1-1", devnum=7)
    _, address = serve(ALL)
    client = peer(address)
    client.send(handshake.pack_import_request("1-1"))
    device = parse(import_steps("1-1"), client.receive(320))
    assert (device.devid, device.speed, device.vidpid) == (0x10007, 3, "46f4:0001")
    client.send(b"urb")
    assert host.sockets["1-1"].recv(100) == b"urb"


def test_bytes_after_an_import_are_left_to_the_engine(host: FakeKernel, serve: Serve, peer: Connect) -> None:
    host.plug("1-1")
    _, address = serve(ALL)
    client = peer(address)
    client.send(handshake.pack_import_request("1-1") + b"early")
    client.receive(320)
    assert host.sockets["1-1"].recv(100) == b"early"


@pytest.mark.parametrize("busid", ["1-2", "1-1", "../../x", "1-1\n"])
def test_what_is_not_granted_cannot_be_imported(host: FakeKernel, serve: Serve, peer: Connect, busid: str) -> None:
    host.plug("1-1")
    _, address = serve("allow 10.77.0.3 all")
    client = peer(address)
    client.send(handshake.pack_import_request(busid))
    assert client.end() == struct.pack(">HHI", 0x0111, 0x0003, handshake.ST_NODEV)
    assert host.sockets == {}


def test_a_refused_import_is_logged_with_the_rule_that_refused_it(
    host: FakeKernel, serve: Serve, peer: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    host.plug("1-1")
    host.plug("1-2", devnum=3)
    _, address = serve("allow any path 1-2\nallow 10.77.0.3 path 1-1\ndeny any class mass-storage")
    client = peer(address)
    client.send(handshake.pack_import_request("1-1"))
    client.end()
    assert "line 3 denies it: deny any class mass-storage" in capfd.readouterr().err


def test_a_device_that_is_not_granted_has_milestones_when_it_comes_and_goes(
    host: FakeKernel, serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    host.plug("1-1")
    server, _ = serve("allow any path 1-2")
    server.rescan()
    assert capfd.readouterr().out == "router-usbip: plugged 1-1 46f4:0001 not granted\n"
    host.unplug("1-1")
    host.plug("1-1", devnum=3)
    server.rescan()
    host.unplug("1-1")
    server.rescan()
    assert capfd.readouterr().out.splitlines() == [
        "router-usbip: unplugged 1-1 46f4:0001",
        "router-usbip: plugged 1-1 46f4:0001 not granted",
        "router-usbip: unplugged 1-1 46f4:0001",
    ]


def test_a_new_grant_or_revocation_is_not_reported_as_plugging_in(
    loop: Loop, host: FakeKernel, serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    host.plug("1-1")
    server, _ = serve("allow any path 1-2")
    capfd.readouterr()
    server.set_policy(parse_policy(ALL))
    assert capfd.readouterr().out == "router-usbip: exported 1-1 46f4:0001\n"
    server.set_policy(parse_policy("allow any path 1-2"))
    assert capfd.readouterr().out == "router-usbip: withdrawn 1-1 46f4:0001\n"


@pytest.mark.parametrize(
    ("busid", "port", "rule"), [("2-1", "usb1-port1", "1-1"), ("2-1.4", "1-1-port4", "1-1.4"), ("2-1", "", "2-1")]
)
def test_a_super_speed_device_fits_the_rule_of_either_name_of_its_port(
    host: FakeKernel, serve: Serve, busid: str, port: str, rule: str
) -> None:
    host.plug(busid, speed="5000", where="devices/pci0000:00/usb2")
    folder = host.tree / "devices/pci0000:00/usb2" / busid / "port"
    folder.mkdir()
    if port:
        (folder / "peer").symlink_to(f"../../somewhere/{port}")
    server, _ = serve(f"allow any path {rule}")
    assert names(server) == [busid]


def importing(peer: Connect, address: Address) -> Peer:
    """A client that has imported 1-1 and read the reply."""
    client = peer(address)
    client.send(handshake.pack_import_request("1-1"))
    client.receive(320)
    return client


def test_a_device_in_use_is_busy_and_not_listed(host: FakeKernel, serve: Serve, peer: Connect) -> None:
    host.plug("1-1")
    _, address = serve(ALL)
    first, second, third = peer(address), peer(address), peer(address)
    first.send(handshake.pack_import_request("1-1"))
    first.receive(320)
    second.send(handshake.pack_import_request("1-1"))
    assert second.end() == struct.pack(">HHI", 0x0111, 0x0003, handshake.ST_DEV_BUSY)
    third.send(handshake.pack_devlist_request())
    assert parse(devlist_steps(), third.end()) == []


def test_a_refused_hand_over_is_answered_with_an_error(host: FakeKernel, serve: Serve, peer: Connect) -> None:
    host.plug("1-1")
    _, address = serve(ALL)
    host.set_status("1-1", 3)
    client = peer(address)
    client.send(handshake.pack_import_request("1-1"))
    assert client.end() == struct.pack(">HHI", 0x0111, 0x0003, handshake.ST_DEV_ERR)


def test_a_device_whose_session_the_kernel_does_not_end_is_stopped_again(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.usbip.engines.kernel.STOP_INTERVAL_S", 0.2)
    host.plug("1-1")
    server, address = serve(ALL)
    client = importing(peer, address)
    client.sock.close()
    run_until(loop, lambda: server.exports["1-1"].session is None)
    assert ("bus/usb/devices/1-1/usbip_sockfd", "-1\n") in host.written
    assert host.read("bus/usb/devices/1-1/usbip_status") == "1"


def test_a_session_whose_socket_shows_no_end_is_over_once_the_kernel_says_so(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.usbip.engines.kernel.SESSION_POLL_S", 0.2)
    host.plug("1-1")
    server, address = serve(ALL)
    importing(peer, address)
    run_for(loop, 0.5)
    assert server.exports["1-1"].session
    host.set_status("1-1", 1)
    run_until(loop, lambda: server.exports["1-1"].session is None)
    assert names(server) == ["1-1"]


def test_a_device_comes_back_after_its_client_has_gone(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect
) -> None:
    host.plug("1-1")
    server, address = serve(ALL)
    client = importing(peer, address)
    client.sock.close()
    run_for(loop, 0.1)
    assert server.exports["1-1"].session, "the stub is still resetting the device"
    host.end_session("1-1")
    run_until(loop, lambda: not server.exports["1-1"].session)
    again = peer(address)
    again.send(handshake.pack_import_request("1-1"))
    assert parse(import_steps("1-1"), again.receive(320)).busid == "1-1"


def test_a_device_that_the_stub_calls_unusable_is_bound_again(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect
) -> None:
    host.plug("1-1")
    server, address = serve(ALL)
    importing(peer, address)
    host.end_session("1-1", status=3)
    run_until(loop, lambda: not server.exports["1-1"].session)
    assert (host.read("bus/usb/devices/1-1/usbip_status"), names(server)) == ("1", ["1-1"])


def test_a_busy_bind_is_tried_again(loop: Loop, host: FakeKernel, serve: Serve) -> None:
    host.plug("1-1")
    host.bind_errors = [errno.EBUSY, errno.EBUSY]
    server, _ = serve(ALL)
    assert names(server) == []
    run_until(loop, lambda: names(server) == ["1-1"])
    assert host.bind_errors == []


def test_a_replugged_device_is_bound_again(host: FakeKernel, serve: Serve) -> None:
    host.plug("1-1", devnum=2)
    server, _ = serve(ALL)
    host.unplug("1-1")
    server.rescan()
    assert names(server) == []
    host.plug("1-1", devnum=3)
    server.rescan()
    assert (names(server), host.link("bus/usb/devices/1-1/driver")) == (["1-1"], "usbip-host")


def test_a_device_unplugged_in_its_clients_hands_can_be_bound_when_it_is_back(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect
) -> None:
    host.plug("1-1", devnum=2)
    server, address = serve(ALL)
    importing(peer, address)
    # The connection ends before the hot-plug message is read.
    host.unplug("1-1")
    run_until(loop, lambda: not server.exports["1-1"].session)
    run_for(loop, 0.2)
    server.rescan()
    host.plug("1-1", devnum=3)
    server.rescan()
    run_until(loop, lambda: names(server) == ["1-1"])
    assert host.table == {"1-1": "bound"}


def test_a_device_without_a_number_is_being_reset_and_stays(
    loop: Loop, host: FakeKernel, serve: Serve, peer: Connect
) -> None:
    host.plug("1-1", devnum=2)
    server, address = serve(ALL)
    importing(peer, address)
    (host.tree / "bus/usb/devices/1-1/devnum").write_text("0\n")
    server.rescan()
    (host.tree / "bus/usb/devices/1-1/devnum").write_text("2\n")
    server.rescan()
    assert "1-1" in host.sockets


def test_a_device_that_comes_back_as_another_follows_the_rule_of_its_port(host: FakeKernel, serve: Serve) -> None:
    """A firmware update mode, a modem that switches: another VID:PID at the same place."""
    host.plug("1-1", devnum=2)
    server, _ = serve("allow 127.0.0.1 path 1-1 port 3")
    host.unplug("1-1")
    host.plug("1-1", devnum=3, vid=0x1D50, pid=0x6015)
    server.rescan()
    assert [(device.vidpid, port) for device, port, _ in server.grants_for("127.0.0.1")] == [("1d50:6015", 3)]


def test_attached_devices_are_not_even_looked_at(host: FakeKernel, serve: Serve) -> None:
    """Their attributes wait for an enumeration that may wait for this very server."""
    host.plug("3-1", where="devices/platform/vhci_hcd.0/usb3")
    (host.tree / "bus/usb/devices/3-1/product").unlink()
    (host.tree / "bus/usb/devices/3-1/product").mkdir()
    server, _ = serve(ALL)
    assert server.seen(server.engines[0]) == {}


def test_a_replug_between_two_looks_is_noticed(host: FakeKernel, serve: Serve) -> None:
    host.plug("1-1", devnum=2)
    server, _ = serve(ALL)
    host.unplug("1-1")
    host.plug("1-1", devnum=3)
    server.rescan()
    assert (names(server), host.link("bus/usb/devices/1-1/driver")) == (["1-1"], "usbip-host")


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
        client = peer(address)
        client.send(handshake.pack_import_request(busid))
        client.receive(320)
    watcher = peer(address)
    watcher.send(handshake.pack_watch_request([0x10003]))
    run_until(loop, lambda: not server.exports["1-1"].session)
    assert (set(host.sockets), bool(server.exports["1-2"].session)) == ({"1-2"}, True)


def test_a_new_policy_ends_only_what_it_denies(loop: Loop, host: FakeKernel, serve: Serve, peer: Connect) -> None:
    host.plug("1-1", devnum=2)
    host.plug("1-2", devnum=3)
    server, address = serve(ALL)
    for busid in ("1-1", "1-2"):
        client = peer(address)
        client.send(handshake.pack_import_request(busid))
        client.receive(320)
    server.set_policy(parse_policy("allow 127.0.0.1 path 1-2"))
    run_until(loop, lambda: set(host.sockets) == {"1-2"})
    assert host.link("bus/usb/devices/1-1/driver") == "usb", "the denied device is back with its own driver"


def test_closing_with_release_gives_the_devices_back(host: FakeKernel, serve: Serve) -> None:
    host.plug("1-1")
    server, _ = serve(ALL)
    server.close(release=True)
    assert host.link("bus/usb/devices/1-1/driver") == "usb"
    assert host.table == {}, "usbip-host's table has 16 places only"


def test_a_device_goes_out_with_keepalive_and_without_delay(host: FakeKernel, serve: Serve, peer: Connect) -> None:
    host.plug("1-1")
    _, address = serve(ALL)
    importing(peer, address)
    sock = host.sockets["1-1"]
    tcp = socket.IPPROTO_TCP
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(tcp, socket.TCP_NODELAY) == 1
    options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT]
    assert [sock.getsockopt(tcp, option) for option in options] == [10, 1, 5, 15000]
