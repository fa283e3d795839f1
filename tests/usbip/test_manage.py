# SPDX-License-Identifier: BSD-2-Clause
"""For the one who runs the system: who has which device, grants at run time, and virtual controllers cut to size."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import HostError
from router.usbip.__main__ import main
from router.usbip.client import controllers
from router.usbip.client.vhci import Vhci
from router.usbip.commands.ports import ports_json
from router.usbip.policy.edit import granted, revoked
from router.usbip.policy.file import parse_policy
from router.usbip.protocol.device import Device
from router.usbip.runtime import proc
from router.usbip.runtime.event_loop import Loop
from router.usbip.runtime.net import Address
from router.usbip.server.server import Server
from tests.usbip.fakes import FakeKernel, run_until

Serve = Callable[[str], tuple[Server, Address]]
MOUSE = Device("1-3", 3, 1, 3, 0x0627, 1, interfaces=((3, 1, 2),), serial="M 1#", product="Mouse")
OTHER = Device("1-3", 3, 1, 4, 0x0627, 1, interfaces=((3, 1, 2),), serial="M2", product="Mouse")
A, B = "10.77.0.3", "10.77.0.4"


def allowed(text: str, device: Device = MOUSE) -> dict[str, int | None]:
    """For each client its port, or None where it may not have the device."""
    policy = parse_policy(text)
    decisions = {client: policy.decide(client, device) for client in (A, B)}
    return {client: decision.port if decision.allowed else None for client, decision in decisions.items()}


# Grants at run time


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"allow {A} path 1-3\n",
        f"allow {A} class hid port 4\n",
        f'allow {A} path 1-3 serial "M 1#" device 0627:0001\n',
        f"deny {B} path 1-3\n",
        f"deny any all\nallow {A} device 0627:0001\n",
    ],
)
def test_a_grant_goes_before_what_the_file_says_and_can_be_taken_back(text: str) -> None:
    given = granted(text, B, MOUSE, 2)
    assert allowed(given) == {A: None, B: 2}
    moved = granted(given, A, MOUSE)
    assert allowed(moved)[B] is None and allowed(moved)[A] is not None
    assert granted(revoked(given, B, MOUSE), B, MOUSE, 2) == given
    assert allowed(revoked(given, B, MOUSE))[B] is None


def test_a_grant_that_the_file_makes_already_adds_nothing() -> None:
    text = f"allow {A} path 1-3 port 4\n"
    assert granted(text, A, MOUSE) == text
    assert granted(text, A, MOUSE, 4) == text
    assert allowed(granted(text, A, MOUSE, 5)) == {A: 5, B: None}
    assert granted(revoked(text, A, MOUSE), A, MOUSE) == text


def test_a_grant_is_for_that_device_and_no_other_in_its_port() -> None:
    assert allowed(granted("", A, MOUSE), OTHER) == {A: None, B: None}


def test_a_device_goes_to_one_client_even_if_the_file_gives_it_to_two_by_the_same_words() -> None:
    exact = 'path 1-3 serial "M 1#" device 0627:0001 interface 03/01/02'
    text = f"allow {A} {exact}\nallow {B} {exact}\n"
    assert allowed(text) == {A: 0, B: 0}
    assert allowed(granted(text, B, MOUSE)) == {A: None, B: 0}


@given(st.text(), st.integers(0, 255))
def test_any_serial_number_makes_a_rule_that_describes_its_device(serial: str, port: int) -> None:
    device = Device("1-3", 3, 1, 3, 1, 2, triple=(0xFF, 1, 2), serial=serial)
    text = granted("", A, device, port)
    assert allowed(text, device) == {A: port, B: None}
    assert revoked(text, A, device) == ""


def test_a_device_taken_from_everybody_is_given_back_after_its_session(
    host: FakeKernel, serve: Serve, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.plug("1-1")
    server, address = serve("allow 127.0.0.1 path 1-1")
    monkeypatch.setattr(host, "end_session", lambda busid, status=1: None)  # the kernel takes its time
    with socket.create_connection((address.host, address.port)) as client:
        client.sendall(bytes.fromhex("0111800300000000") + b"1-1".ljust(32, b"\0"))
        run_until(loop, lambda: server.exports["1-1"].session)
        host.written.clear()
        server.set_policy(parse_policy(""))
        run_until(loop, lambda: ("bus/usb/devices/1-1/usbip_sockfd", "-1\n") in host.written)
        assert not any(name.endswith("unbind") for name, _ in host.written)
        monkeypatch.undo()
        host.end_session("1-1")
        run_until(loop, lambda: host.link("bus/usb/devices/1-1/driver") == "usb")
    stops = [name for name, text in host.written if text == "-1\n"]
    assert len(stops) == 1


def test_a_server_that_ends_gives_back_what_changes_meanwhile(
    host: FakeKernel, serve: Serve, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.plug("1-1")
    server, address = serve("allow 127.0.0.1 path 1-1")
    end_session = host.end_session
    with socket.create_connection((address.host, address.port)) as client:
        client.sendall(bytes.fromhex("0111800300000000") + b"1-1".ljust(32, b"\0"))
        run_until(loop, lambda: server.exports["1-1"].session)

        def reset(busid: str, status: int = 1) -> None:
            # The kernel takes its time, and hot-plug messages come of it: the device is another one afterwards.
            (host.tree / "bus/usb/devices/1-1/devnum").write_text("9\n")
            server.rescan_soon()
            loop.call_later(0.1, lambda: end_session(busid, status))

        monkeypatch.setattr(host, "end_session", reset)
        server.close(release=True)
        monkeypatch.undo()
    assert (host.table, host.link("bus/usb/devices/1-1/driver")) == ({}, "usb")


# Virtual controllers


class FakeVhci(FakeKernel):
    """Three controllers of four ports of each speed, whose driver can be bound to them and unbound."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.high_speed = self.super_speed = 4
        (root / controllers.DRIVER).mkdir(parents=True)
        for name in ("bind", "unbind"):
            (root / controllers.DRIVER / name).touch()
        for index in range(3):
            for hub, speed in ((2 * index + 1, "480"), (2 * index + 2, "5000")):
                base = root / f"devices/platform/vhci_hcd.{index}/usb{hub}"
                for port in range(1, 5):
                    (base / f"{hub}-0:1.0/usb{hub}-port{port}").mkdir(parents=True)
                    (base / f"{hub}-0:1.0/usb{hub}-port{port}/disable").write_text("0\n")
                (base / "speed").write_text(speed + "\n")
            (root / controllers.DRIVER / f"vhci_hcd.{index}").symlink_to(root / f"devices/platform/vhci_hcd.{index}")
        self.show()

    def show(self) -> None:
        self._write_status()
        head = "hub port sta spd dev      sockfd local_busid\n"
        for index in (1, 2):
            state = "004" if self.exists(f"{controllers.DRIVER}/vhci_hcd.{index}") else "005"
            rows = [
                f"{'hs' if n < 4 else 'ss'}  {8 * index + n:04d} {state} 000 00000000 000000 0-0\n" for n in range(8)
            ]
            (self.tree / f"devices/platform/vhci_hcd.0/status.{index}").write_text(head + "".join(rows))

    def write(self, name: str, text: str, check: Callable[[], None] | None = None) -> None:
        link = self.tree / controllers.DRIVER / text
        if name == f"{controllers.DRIVER}/unbind":
            link.unlink()
        elif name == f"{controllers.DRIVER}/bind":
            if link.exists():
                raise OSError(errno.EBUSY, "bind")
            link.symlink_to(self.tree / "devices/platform" / text)
        else:
            super().write(name, text, check)
            return
        self.show()

    def off(self, hub: int) -> list[int]:
        base = next(self.tree.glob(f"devices/platform/*/usb{hub}/{hub}-0:1.0"))
        return [n for n in range(1, 5) if (base / f"usb{hub}-port{n}/disable").read_text() == "1\n"]


@pytest.fixture
def vhci(tmp_path: Path) -> Iterator[Vhci]:
    kernel = FakeVhci(tmp_path / "kernel")
    yield Vhci(kernel, str(tmp_path / "state"))
    kernel.close()


def kernel_of(vhci: Vhci) -> FakeVhci:
    assert isinstance(vhci.sysfs, FakeVhci)
    return vhci.sysfs


def present(vhci: Vhci) -> list[tuple[int, int, int]]:
    return [(one.index, one.ports, one.usb) for one in controllers.find_controllers(vhci) if one.present]


def test_a_guest_is_left_with_one_controller_of_its_size(vhci: Vhci) -> None:
    assert [index for index, _, _ in present(vhci)] == [0, 1, 2]
    controllers.fit(vhci, 3, 2)
    assert present(vhci) == [(0, 3, 2)]
    assert (kernel_of(vhci).off(1), kernel_of(vhci).off(2)) == ([4], [1, 2, 3, 4])
    with pytest.raises(HostError, match="there is no virtual port 4 of the hs kind"):
        vhci.choose(3, 4)
    with pytest.raises(HostError, match="all 0 virtual ports of the ss kind"):
        vhci.choose(5)
    before = len(kernel_of(vhci).written)
    controllers.fit(vhci, 3, 2)
    assert len(kernel_of(vhci).written) == before


def test_zero_ports_are_all_that_the_kernel_has(vhci: Vhci) -> None:
    controllers.fit(vhci, 0, 3)
    assert present(vhci) == [(0, 4, 3)]
    assert kernel_of(vhci).off(1) == kernel_of(vhci).off(2) == []


def test_a_controller_is_created_with_its_ports_and_taken_down_again(vhci: Vhci) -> None:
    controllers.fit(vhci, 4, 3)
    assert controllers.create(vhci, 2, 3).index == 1
    assert present(vhci) == [(0, 4, 3), (1, 2, 3)]
    assert [vhci.choose(3, number).rhport for number in (5, 6)] == [8, 9]
    assert vhci.choose(5, 5).rhport == 12
    with pytest.raises(HostError, match="there is no virtual port 7"):
        vhci.choose(3, 7)
    controllers.fit(vhci, 4, 3)
    assert present(vhci) == [(0, 4, 3), (1, 2, 3)]
    controllers.destroy(vhci, 1)
    assert present(vhci) == [(0, 4, 3)]
    assert controllers.create(vhci, 4, 2).index == 1
    assert (kernel_of(vhci).off(3), kernel_of(vhci).off(4)) == ([], [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("index", "message"),
    [(0, "controller 0 cannot go"), (2, "there is no controller 2"), (9, "no controller 9")],
)
def test_what_cannot_be_taken_down_is_refused(vhci: Vhci, index: int, message: str) -> None:
    controllers.fit(vhci, 4, 3)
    with pytest.raises(HostError, match=message):
        controllers.destroy(vhci, index)


def test_a_controller_in_use_stays(vhci: Vhci) -> None:
    text = Path(vhci.sysfs.path("devices/platform/vhci_hcd.0/status.1"))
    text.write_text(text.read_text().replace("hs  0008 004 000 00000000", "hs  0008 006 003 00010002"))
    with pytest.raises(HostError, match="controller 1 has devices on its ports: 5"):
        controllers.destroy(vhci, 1)
    controllers.fit(vhci, 4, 3)
    assert [index for index, _, _ in present(vhci)] == [0, 1]


def test_there_are_no_more_controllers_than_the_kernel_has(vhci: Vhci) -> None:
    with pytest.raises(HostError, match="all 3 controllers"):
        controllers.create(vhci, 4, 3)
    with pytest.raises(HostError, match="a controller cannot have 5 ports"):
        controllers.create(vhci, 5, 3)


def test_what_is_in_use_is_looked_up_once_for_all_ports_and_with_inits_eyes(
    vhci: Vhci, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = kernel_of(vhci)
    for port in range(4):
        kernel.ports[port] = (socket.socket(), 0x10002 + port, 3)
        disk = kernel.tree / f"devices/platform/vhci_hcd.0/usb1/1-{port + 1}/block/sd{port}"
        disk.mkdir(parents=True)
        (disk / "dev").write_text(f"8:{port}\n")
        (kernel.tree / "class/block").mkdir(parents=True, exist_ok=True)
        (kernel.tree / f"class/block/sd{port}").symlink_to(disk)
    kernel.show()
    proc_folder = tmp_path / "proc"
    for process, text in (("1", "30 1 8:2 / / rw - ext4 /dev/sd2 rw\n"), ("self", "")):
        (proc_folder / process).mkdir(parents=True)
        (proc_folder / process / "mountinfo").write_text(text)
    monkeypatch.setattr(proc, "PROC", str(proc_folder))
    listed: list[str] = []
    names = kernel.names

    def noted(name: str) -> list[str]:
        listed.append(name)
        return names(name)

    monkeypatch.setattr(kernel, "names", noted)
    rows = json.loads(ports_json(vhci, proc.InitsMounts()))["ports"]
    assert [row["device"]["uses"] for row in rows if row["device"]] == [[], [], ["sd2 on /"], []]
    assert listed.count("class/block") == 1


def test_the_verbs_tell_ports_and_controllers(
    vhci: Vhci, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("router.usbip.commands.ports.Sysfs", lambda _: vhci.sysfs)
    monkeypatch.setattr("router.usbip.commands.ports.STATE_DIR", vhci.state_dir)
    controllers.fit(vhci, 2, 3)
    assert main(["ports", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["hub"], row["port"], row["state"]) for row in rows["ports"]] == [
        ("hs", 1, "free"),
        ("hs", 2, "free"),
        ("ss", 1, "free"),
        ("ss", 2, "free"),
    ]
    assert main(["controllers", "create", "--ports", "1", "--usb", "2"]) == 0
    assert capsys.readouterr().out == "controller 1: USB 2, 1 ports\n"
    assert main(["controllers"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "controller 0: USB 3, 2 ports, 0 used",
        "controller 1: USB 2, 1 ports, 0 used",
        "controller 2: down",
    ]
    assert main(["controllers", "destroy", "1"]) == 0
    assert main(["controllers", "destroy", "one"]) == 2
