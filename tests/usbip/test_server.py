# SPDX-License-Identifier: BSD-2-Clause
"""The server with the engine `kernel`, over real sockets, on a sysfs tree that plays usbip-host."""

from __future__ import annotations

import struct

import pytest

from router.usbip.client.exchange import devlist_steps, import_steps
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import handshake
from router.usbip.runtime.event_loop import Loop
from tests.usbip.by_hand import ALL, Connect, Serve, names, parse
from tests.usbip.fakes import FakeKernel, run_until


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
    if port:
        (folder / "peer").symlink_to(f"../../somewhere/{port}")
    server, _ = serve(f"allow any path {rule}")
    assert names(server) == [busid]


def test_a_device_whose_port_is_not_known_yet_goes_to_no_client_of_a_less_exact_rule(
    loop: Loop, host: FakeKernel, serve: Serve
) -> None:
    host.plug("2-1", speed="5000", where="devices/pci0000:00/usb2", finished=False)
    server, _ = serve("allow 10.77.0.3 path 1-1\nallow 10.77.0.4 class mass-storage")
    assert names(server) == []
    port = host.tree / "devices/pci0000:00/usb2/2-1/port"
    port.mkdir()
    (port / "peer").symlink_to("../../somewhere/usb1-port1")
    run_until(loop, lambda: names(server) == ["2-1"])
    device = server.exports["2-1"].device
    assert device.peer == "1-1"
    assert [server.policy.decide(f"10.77.0.{n}", device).allowed for n in (3, 4)] == [True, False]
