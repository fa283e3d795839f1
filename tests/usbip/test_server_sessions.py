# SPDX-License-Identifier: BSD-2-Clause
"""The server with the engine `kernel`: devices in use, sessions that end, devices that come back."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from router.usbip.client.exchange import devlist_steps, import_steps
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import handshake
from router.usbip.runtime.event_loop import Loop
from tests.usbip.by_hand import ALL, Connect, Serve, importing, names, parse
from tests.usbip.fakes import FakeKernel, run_for, run_until


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


def test_a_new_policy_ends_only_what_it_denies(loop: Loop, host: FakeKernel, serve: Serve, peer: Connect) -> None:
    host.plug("1-1", devnum=2)
    host.plug("1-2", devnum=3)
    server, address = serve(ALL)
    for busid in ("1-1", "1-2"):
        importing(peer, address, busid)
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
    assert [sock.getsockopt(tcp, option) for option in options] == [5, 1, 5, 10_000]
