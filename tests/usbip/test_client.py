# SPDX-License-Identifier: BSD-2-Clause
"""The client against our server, both on sysfs trees that play the kernels, over real sockets in one loop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from router.errors import DescriptionError, HostError
from router.usbip.__main__ import main
from router.usbip.client import exchange
from router.usbip.client import keep_attached as client_module
from router.usbip.client.disks import deepen_read_ahead, raise_max_sectors
from router.usbip.client.keep_attached import KeepAttached
from router.usbip.client.vhci import Vhci
from router.usbip.commands.attach import attach
from router.usbip.commands.keep_attached import parse_attach, render_attach
from router.usbip.engines.kernel import KernelEngine
from router.usbip.policy.file import parse_policy
from router.usbip.protocol import handshake
from router.usbip.protocol.device import Device
from router.usbip.runtime import net
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from tests.support.patience import PATIENCE
from tests.usbip.fakes import FakeKernel, run_for, run_until, unused_address

Serve = Callable[[str], tuple[Server, Address]]
Keep = Callable[..., KeepAttached]
ALL = "allow any all"


@pytest.fixture
def vhci(guest: FakeKernel, tmp_path: Path) -> Vhci:
    return Vhci(guest, str(tmp_path / "state"))


@pytest.fixture
def keep(loop: Loop, vhci: Vhci) -> Iterator[Keep]:
    keepers: list[KeepAttached] = []

    def start(address: Address, **options: object) -> KeepAttached:
        keeper = KeepAttached(loop, address, vhci, **options)  # type: ignore[arg-type]
        keepers.append(keeper)
        keeper.start()
        return keeper

    yield start
    for keeper in keepers:
        keeper.close()


def attached(keeper: KeepAttached) -> dict[str, int]:
    """busid → virtual port."""
    return {busid: held.port.number for busid, held in keeper.held.items()}


def test_granted_devices_are_attached_to_their_ports(
    loop: Loop, host: FakeKernel, guest: FakeKernel, serve: Serve, keep: Keep, capfd: pytest.CaptureFixture[str]
) -> None:
    host.plug("1-1", devnum=2)
    host.plug("1-2", devnum=3, speed="5000")
    host.plug("1-3", devnum=4)
    _, address = serve("allow any path 1-1 port 3\nallow any path 1-2 port 3\nallow any path 1-3")
    keeper = keep(address)
    run_until(loop, lambda: len(keeper.held) == 3)
    assert attached(keeper) == {"1-1": 3, "1-2": 3, "1-3": 1}
    assert {port: (devid, speed) for port, (_, devid, speed) in guest.ports.items()} == {
        2: (0x10002, 3),
        10: (0x10003, 5),
        0: (0x10004, 3),
    }
    assert "router-usbip: attached 1-1 port 3\n" in capfd.readouterr().out


def test_bytes_flow_between_the_two_kernels(
    loop: Loop, host: FakeKernel, guest: FakeKernel, serve: Serve, keep: Keep
) -> None:
    host.plug("1-1")
    _, address = serve(ALL)
    keeper = keep(address)
    run_until(loop, lambda: keeper.held)
    guest.ports[0][0].sendall(b"submit")
    assert host.sockets["1-1"].recv(100) == b"submit"
    host.sockets["1-1"].sendall(b"return")
    assert guest.ports[0][0].recv(100) == b"return"


def test_a_port_without_a_rule_avoids_those_that_rules_ask_for(
    loop: Loop, host: FakeKernel, serve: Serve, keep: Keep
) -> None:
    server, address = serve("allow any path 1-1\nallow any path 1-2 port 1")
    keeper = keep(address)
    host.plug("1-1", devnum=2)
    host.plug("1-2", devnum=3)
    server.rescan()
    run_until(loop, lambda: len(keeper.held) == 2)
    assert attached(keeper) == {"1-1": 2, "1-2": 1}


def test_a_device_that_is_plugged_in_later_is_attached(
    loop: Loop, host: FakeKernel, serve: Serve, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("POLL_INTERVAL_S", "CHECK_INTERVAL_S"):
        monkeypatch.setattr(client_module, name, 10 * PATIENCE)  # it gets a message, and does not ask
    server, address = serve(ALL)
    keeper = keep(address)
    run_until(loop, server.watchers)
    host.plug("1-1")
    server.rescan()
    run_until(loop, lambda: keeper.held)
    assert attached(keeper) == {"1-1": 1}


def test_an_unplugged_device_goes_and_a_replugged_one_takes_its_port_again(
    loop: Loop,
    host: FakeKernel,
    guest: FakeKernel,
    serve: Serve,
    keep: Keep,
    capfd: pytest.CaptureFixture[str],
) -> None:
    host.plug("1-1", devnum=2)
    server, address = serve("allow any path 1-1 port 5")
    keeper = keep(address)
    run_until(loop, lambda: keeper.held)
    host.unplug("1-1")
    server.rescan()
    run_until(loop, lambda: not keeper.held)
    guest.disconnect(4)
    host.plug("1-1", devnum=3)
    server.rescan()
    run_until(loop, lambda: keeper.held)
    assert [line for line in capfd.readouterr().out.splitlines() if "tached" in line] == [
        "router-usbip: attached 1-1 port 5",
        "router-usbip: detached 1-1 port 5",
        "router-usbip: attached 1-1 port 5",
    ]


def test_a_client_that_starts_before_its_server_finds_it(
    loop: Loop, host: FakeKernel, keep: Keep, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def complaints() -> int:
        said.append(capfd.readouterr().err)
        return "".join(said).count("Connection refused")

    with unused_address() as address:
        keeper = keep(address)
        run_until(loop, complaints)
        run_for(loop, 0.6)
        host.plug("1-1")
        server = Server(loop, [KernelEngine(loop, host)], parse_policy(ALL))
        server.listen(address)
        server.rescan()
        run_until(loop, lambda: keeper.held)
    server.close()
    assert attached(keeper) == {"1-1": 1}
    assert complaints() == 1, "a lasting trouble is logged once"


def test_devices_stay_attached_while_the_server_restarts(
    loop: Loop, host: FakeKernel, guest: FakeKernel, serve: Serve, keep: Keep
) -> None:
    host.plug("1-1", devnum=2)
    server, address = serve(ALL)
    keeper = keep(address)
    run_until(loop, lambda: keeper.held)
    server.close()
    run_for(loop, 0.3)
    host.plug("1-2", devnum=3)
    again = Server(loop, [KernelEngine(loop, host)], parse_policy(ALL))
    again.listen(address)
    again.rescan()
    run_until(loop, lambda: len(keeper.held) == 2)
    assert set(guest.ports) == {0, 1}
    guest.ports[0][0].sendall(b"still there")
    assert host.sockets["1-1"].recv(100) == b"still there"
    again.close()


def test_a_restarted_client_adopts_what_is_attached(
    loop: Loop,
    host: FakeKernel,
    guest: FakeKernel,
    serve: Serve,
    keep: Keep,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "CHECK_INTERVAL_S", 0.1)
    host.plug("1-1")
    server, address = serve(ALL)
    first = keep(address)
    run_until(loop, lambda: first.held)
    first.close()
    second = keep(address)
    run_until(loop, lambda: second.held)
    run_for(loop, 0.3)
    assert attached(second) == {"1-1": 1}
    assert server.exports["1-1"].session, "the session that it holds was not taken for a dead one"
    host.end_session("1-1")
    guest.disconnect(0)
    run_until(loop, lambda: second.held and second.held["1-1"].sock)
    assert attached(second) == {"1-1": 1}


def test_a_super_speed_device_is_left_alone_by_a_usb_2_controller(
    loop: Loop, host: FakeKernel, serve: Serve, keep: Keep, capfd: pytest.CaptureFixture[str]
) -> None:
    host.plug("1-1", speed="5000")
    _, address = serve(ALL)
    keeper = keep(address, usb=2)
    run_until(loop, lambda: "1-1: is a super-speed device" in capfd.readouterr().err)
    run_for(loop, 0.3)
    assert not keeper.held


def test_ports_beyond_the_limit_are_not_used(loop: Loop, host: FakeKernel, serve: Serve, keep: Keep) -> None:
    for number in (1, 2, 3):
        host.plug(f"1-{number}", devnum=number + 1)
    _, address = serve(ALL)
    keeper = keep(address, limit=2)
    run_until(loop, lambda: len(keeper.held) == 2)
    run_for(loop, 0.5)
    assert sorted(attached(keeper).values()) == [1, 2]


class OtherServer:
    """A server that knows no watch: what Debian's usbipd does with an unknown request is to close the connection."""

    def __init__(self, devices: list[Device]) -> None:
        self.devices = devices
        self.listener = net.listen(Address("tcp", "127.0.0.1", 0))
        self.kept: list[socket.socket] = []
        self.requests: list[int] = []
        self.listener.settimeout(PATIENCE)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    @property
    def address(self) -> Address:
        return Address("tcp", "127.0.0.1", self.listener.getsockname()[1])

    def run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.answer(sock)

    def answer(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        _, code, _ = handshake.unpack_common(net.receive_exactly(sock, 8))
        self.requests.append(code)
        if code == 0x8005:
            sock.sendall(handshake.pack_devlist_reply(self.devices))
        if code == 0x8003:
            busid = handshake.unpack_import_busid(net.receive_exactly(sock, 32))
            (device,) = (device for device in self.devices if device.busid == busid)
            sock.sendall(handshake.pack_import_reply(device))
            self.kept.append(sock)
            return
        sock.close()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        for sock in (self.listener, *self.kept):
            sock.close()


def test_a_server_without_watch_is_asked_for_its_list(loop: Loop, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "POLL_INTERVAL_S", 0.1)
    server = OtherServer([])
    keeper = keep(server.address)
    run_for(loop, 0.3)
    server.devices.append(Device("2-1", 3, 2, 9, 0x1234, 0x5678, interfaces=((3, 1, 1),)))
    run_until(loop, lambda: keeper.held)
    assert attached(keeper) == {"2-1": 1}
    assert server.requests[:2] == [0x80F0, 0x8005]
    server.close()


def test_a_server_that_answers_for_another_device_is_refused(
    loop: Loop, guest: FakeKernel, vhci: Vhci, serve: Serve, host: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie = handshake.pack_import_reply(Device("1-2", 3, 1, 3, 1, 1))
    with pytest.raises(handshake.WireError, match="answered for 1-2 where 1-1 was asked for"):
        steps = exchange.import_steps("1-1")
        next(steps)
        steps.send(lie[:8])
        steps.send(lie[8:])
    assert guest.ports == {}


def test_what_a_person_detaches_stays_detached_until_it_is_attached_again(
    loop: Loop,
    host: FakeKernel,
    guest: FakeKernel,
    serve: Serve,
    keep: Keep,
    vhci: Vhci,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "CHECK_INTERVAL_S", 0.1)
    monkeypatch.setattr("router.usbip.commands.detach.Vhci", lambda *_: vhci)
    host.plug("1-1")
    _, address = serve(ALL)
    keeper = keep(address)
    run_until(loop, lambda: keeper.held)
    assert main(["detach", "-p", "0"]) == 0
    host.end_session("1-1")
    run_for(loop, 0.8)
    assert guest.ports == {}
    vhci.release(address.host, "1-1")
    run_until(loop, lambda: guest.ports)
    assert attached(keeper) == {"1-1": 1}


def test_what_a_person_detached_comes_back_when_it_is_plugged_in_again(
    loop: Loop,
    host: FakeKernel,
    guest: FakeKernel,
    serve: Serve,
    keep: Keep,
    vhci: Vhci,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("router.usbip.commands.detach.Vhci", lambda *_: vhci)
    host.plug("1-1", devnum=2)
    server, address = serve(ALL)
    keeper = keep(address)
    run_until(loop, lambda: keeper.held)
    assert main(["detach", "-p", "0"]) == 0
    host.unplug("1-1")
    server.rescan()
    run_for(loop, 0.5)
    host.plug("1-1", devnum=3)
    server.rescan()
    run_until(loop, lambda: guest.ports)
    assert attached(keeper) == {"1-1": 1}


def test_detaching_on_the_way_out(loop: Loop, host: FakeKernel, guest: FakeKernel, serve: Serve, keep: Keep) -> None:
    host.plug("1-1")
    _, address = serve(ALL)
    keeper = keep(address)
    run_until(loop, lambda: keeper.held)
    keeper.close(detach=True)
    assert guest.ports == {}


def test_a_port_in_use_is_an_error_that_says_so(guest: FakeKernel, vhci: Vhci) -> None:
    with socket.socket() as sock:
        vhci.attach(vhci.choose(3, 2), sock.fileno(), 0x10002, 3)
    with pytest.raises(HostError, match="virtual port 2 is in use"):
        vhci.choose(3, 2)
    with pytest.raises(HostError, match="there is no virtual port 9 of the hs kind"):
        vhci.choose(3, 9)


def test_what_is_attached_is_noted_as_debians_tool_does(guest: FakeKernel, vhci: Vhci, tmp_path: Path) -> None:
    vhci.remember(3, "10.77.0.2", 3240, "1-1")
    assert (tmp_path / "state/port3").read_text() == "10.77.0.2 3240 1-1\n"
    assert vhci.origin(3) == ("10.77.0.2", 3240, "1-1")
    vhci.forget(3)
    assert vhci.origin(3) is None


def test_super_speed_plus_is_attached_as_super_speed(guest: FakeKernel, vhci: Vhci) -> None:
    with socket.socket() as sock:
        vhci.attach(vhci.choose(6), sock.fileno(), 0x10002, 6)
    assert guest.ports[8][2] == 5


def test_a_dead_server_is_an_error_that_names_it(vhci: Vhci) -> None:
    refused = r"cannot connect to 127\.0\.0\.1:\d+: Connection refused"
    with unused_address() as address, pytest.raises(HostError, match=refused):
        attach(address, "1-1", vhci)


@pytest.mark.parametrize(("now", "after"), [("240", "2048"), ("64", "64"), ("2048", "2048")])
def test_a_disks_commands_grow_unless_the_driver_chose_their_size(guest: FakeKernel, now: str, after: str) -> None:
    disk = "devices/platform/vhci_hcd.0/usb1/1-1/block/sda"
    (guest.tree / disk / "device").mkdir(parents=True)
    (guest.tree / disk / "device/max_sectors").write_text(f"{now}\n")
    raise_max_sectors(guest, disk, 2048)
    assert guest.read(f"{disk}/device/max_sectors").strip() == after


@pytest.mark.parametrize(("now", "after"), [("128", "4096"), ("8192", "8192"), ("", "")])
def test_sequential_reads_of_a_routed_disk_run_ahead(guest: FakeKernel, now: str, after: str) -> None:
    disk = "devices/platform/vhci_hcd.0/usb1/1-1/block/sda"
    (guest.tree / disk / "queue").mkdir(parents=True)
    (guest.tree / disk / "queue/read_ahead_kb").write_text(f"{now}\n")
    assert deepen_read_ahead(guest, disk) is (now == "128")
    assert guest.read(f"{disk}/queue/read_ahead_kb").strip() == after


def test_a_local_disks_read_ahead_is_left_alone(guest: FakeKernel) -> None:
    disk = "devices/platform/xhci.0/usb1/1-1/block/sda"
    (guest.tree / disk / "queue").mkdir(parents=True)
    (guest.tree / disk / "queue/read_ahead_kb").write_text("128\n")
    assert not deepen_read_ahead(guest, disk)


def test_the_attach_file_is_read_as_it_was_written() -> None:
    settings = {"server": "10.77.0.2", "ports": "8", "usb": "2"}
    assert parse_attach(render_attach("10.77.0.2", 8, 2), "f") == settings
    assert parse_attach(render_attach("10.77.0.2", 8, 2, validate=True), "f") == {**settings, "validate": "yes"}


@pytest.mark.parametrize("line", ["usb 4", "ports many", "serve 10.77.0.2", "server", "server a\nserver b"])
def test_a_wrong_attach_file_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        parse_attach(line, "usb-attach")
    assert caught.value.where in ("usb-attach:1", "usb-attach:2")
