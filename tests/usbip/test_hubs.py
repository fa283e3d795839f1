# SPDX-License-Identifier: BSD-2-Clause
"""`router-usbip hubs`: what is in each port of this machine, or why nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router.usbip.commands.hubs import run, state_of_hubs
from tests.usbip.fakes import FakeKernel


@pytest.fixture
def host(tmp_path: Path) -> FakeKernel:
    """A controller with a hub of each speed, four ports each; port N of one is port N of the other."""
    kernel = FakeKernel(tmp_path)
    pci = tmp_path / "devices/pci0000:00/0000:00:01.0"
    for bus, speed in ((1, "480"), (2, "5000")):
        hub = pci / f"usb{bus}"
        for number in range(1, 5):
            port = hub / f"{bus}-0:1.0/usb{bus}-port{number}"
            port.mkdir(parents=True)
            (port / "over_current_count").write_text("0\n")
            (port / "disable").write_text("0\n")
            (port / "peer").symlink_to(pci / f"usb{3 - bus}/{3 - bus}-0:1.0/usb{3 - bus}-port{number}")
        (hub / "speed").write_text(f"{speed}\n")
        (tmp_path / f"bus/usb/devices/usb{bus}").symlink_to(hub)
        (tmp_path / f"bus/usb/devices/{bus}-0:1.0").symlink_to(hub / f"{bus}-0:1.0")
    (pci / "driver").symlink_to(tmp_path / "bus/pci/drivers/xhci_hcd")
    return kernel


def port_folder(host: FakeKernel, name: str) -> Path:
    bus = name[3]
    return host.tree / f"devices/pci0000:00/0000:00:01.0/usb{bus}/{bus}-0:1.0/{name}"


def ports(host: FakeKernel, messages: list[str]) -> dict[str, str]:
    rows: dict[str, str] = {}
    for hub in state_of_hubs(host, messages):
        assert isinstance(hub["ports"], list)
        rows |= {port["port"]: port["device"] or port["empty"] for port in hub["ports"]}
    return rows


def test_a_port_shows_its_device_and_its_other_half_where_that_is(host: FakeKernel) -> None:
    host.plug("2-1", speed="5000", where="devices/pci0000:00/0000:00:01.0/usb2")
    shown = ports(host, [])
    assert shown["2-1"] == "46f4:0001"
    assert shown["1-1"] == "its device runs at another speed, as 2-1"
    assert shown["1-2"] == shown["2-2"] == "nothing is plugged in"
    assert len(shown) == 8


def test_an_empty_port_says_why(host: FakeKernel) -> None:
    (port_folder(host, "usb1-port2") / "disable").write_text("1\n")
    (port_folder(host, "usb1-port3") / "over_current_count").write_text("4\n")
    messages = ["usb usb1-port4: Cannot enable. Maybe the USB cable is bad?", "usb usb1-port4: unable to enumerate"]
    shown = ports(host, [*messages, "usb usb1-port41: something else"])
    assert shown["1-2"] == "switched off"
    assert shown["1-3"] == "over-current, 4 times"
    assert shown["1-4"] == "the kernel says: unable to enumerate"


def test_ports_of_a_hub_that_is_plugged_in_are_shown_and_virtual_ones_are_not(host: FakeKernel) -> None:
    where = "devices/pci0000:00/0000:00:01.0/usb1"
    host.plug("1-2", vid=0x0409, pid=0x5A, device_class=9, where=where)
    (host.tree / where / "1-2/1-2:1.0/1-2-port1").mkdir(parents=True)
    host.plug("1-2.1", devnum=5, where=f"{where}/1-2")
    virtual = host.tree / "devices/platform/vhci_hcd.0/usb3/3-0:1.0/usb3-port1"
    virtual.mkdir(parents=True)
    (host.tree / "bus/usb/devices/usb3").symlink_to(virtual.parents[1])
    shown = ports(host, [])
    assert shown["1-2.1"] == "46f4:0001"
    assert not [name for name in shown if name.startswith("3-")]


def test_the_text_names_controllers_and_hides_control_characters_of_names(
    host: FakeKernel, capsys: pytest.CaptureFixture[str]
) -> None:
    host.plug("1-1", where="devices/pci0000:00/0000:00:01.0/usb1")
    (host.tree / "devices/pci0000:00/0000:00:01.0/usb1/1-1/product").write_text("stick\x1b[2J\n")
    assert run("hubs", [], list, host) == 0
    text = capsys.readouterr().out
    assert "0000:00:01.0 (xhci_hcd), 480 Mbit/s\n" in text
    assert "\x1b" not in text
    assert run("hubs", ["--json"], list, host) == 0
    assert [hub["hub"] for hub in json.loads(capsys.readouterr().out)["hubs"]] == ["usb1", "usb2"]


def test_a_machine_without_controllers_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("hubs", [], list, FakeKernel(tmp_path)) == 0
    assert "no USB controller" in capsys.readouterr().out
