# SPDX-License-Identifier: BSD-2-Clause
"""A port keeps its name by the controller, whatever bus number the controller was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.usbip.commands.serve import warn_of_bus_numbers
from router.usbip.policy.file import parse_policy
from router.usbip.runtime.sysfs import controllers, read_device
from tests.usbip.fakes import FakeKernel

PLATFORM = "devices/platform/soc@0/38100000.usb/xhci-hcd.0.auto"


@pytest.fixture
def kernel(tmp_path: Path) -> FakeKernel:
    kernel = FakeKernel(tmp_path / "sys")
    (kernel.tree / "bus/pci").mkdir(parents=True)
    (kernel.tree / "bus/platform").mkdir()
    return kernel


def link(kernel: FakeKernel, name: str, to: str) -> None:
    (kernel.tree / to).mkdir(parents=True, exist_ok=True)
    (kernel.tree / name).parent.mkdir(parents=True, exist_ok=True)
    (kernel.tree / name).symlink_to(kernel.tree / to)


def sockets(kernel: FakeKernel, busid: str) -> tuple[str, ...]:
    device = read_device(kernel, busid)
    assert device is not None
    return device.sockets


@pytest.mark.parametrize("bus", [1, 3])
@pytest.mark.parametrize("place", ["", "/usb{bus}"])
def test_a_controller_of_the_device_tree_is_named_by_its_node(kernel: FakeKernel, bus: int, place: str) -> None:
    kernel.plug(f"{bus}-1.4", where=f"{PLATFORM}/usb{bus}/{bus}-1")
    link(kernel, PLATFORM + place.format(bus=bus) + "/of_node", "firmware/devicetree/base/soc@0/usb@38100000")
    link(kernel, "devices/platform/soc@0/of_node", "firmware/devicetree/base/soc@0")
    link(kernel, PLATFORM + "/subsystem", "bus/platform")
    assert sockets(kernel, f"{bus}-1.4") == ("usb@38100000/1.4",)


def test_a_controller_on_pci_is_named_by_its_address_and_not_by_what_is_above_it(kernel: FakeKernel) -> None:
    pci = "devices/platform/3f000000.pcie/pci0000:00/0000:00:02.0"
    kernel.plug("2-1", where=f"{pci}/usb2")
    link(kernel, f"{pci}/subsystem", "bus/pci")
    link(kernel, "devices/platform/3f000000.pcie/of_node", "firmware/devicetree/base/pcie@3f000000")
    assert sockets(kernel, "2-1") == ("0000:00:02.0/1",)


def test_both_names_of_a_connector_count_where_its_two_buses_number_it_differently(kernel: FakeKernel) -> None:
    kernel.plug("2-1", where=f"{PLATFORM}/usb2")
    link(kernel, f"{PLATFORM}/usb2/of_node", "firmware/devicetree/base/usb@1")
    ports = kernel.tree / PLATFORM
    (ports / "usb1/1-0:1.0/usb1-port3").mkdir(parents=True)
    (ports / "usb2/2-1/port/peer").symlink_to(ports / "usb1/1-0:1.0/usb1-port3")
    assert sockets(kernel, "2-1") == ("usb@1/1", "usb@1/3")


def test_a_controller_that_cannot_be_told_gives_no_name(kernel: FakeKernel) -> None:
    kernel.plug("1-1", where="devices/pci0000:00/usb1")
    assert sockets(kernel, "1-1") == ()


def hub(kernel: FakeKernel, folder: str, bus: int) -> None:
    (kernel.tree / folder / f"usb{bus}").mkdir(parents=True, exist_ok=True)
    (kernel.tree / "bus/usb/devices" / f"usb{bus}").symlink_to(kernel.tree / folder / f"usb{bus}")


def test_rules_by_bus_number_are_named_in_the_log_where_several_controllers_are_there(
    kernel: FakeKernel, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = parse_policy(
        "allow any path 1-1.4\nallow any path usb@38100000/2\nallow any class hid\nallow any path 1-3 # at run time\n"
    )
    for bus in (1, 2):
        hub(kernel, PLATFORM, bus)
    link(kernel, f"{PLATFORM}/of_node", "firmware/devicetree/base/soc@0/usb@38100000")
    hub(kernel, "devices/platform/vhci_hcd.0", 3)
    warn_of_bus_numbers(kernel, policy)
    assert capsys.readouterr().err == "", "the two buses of one controller are no choice"
    other = PLATFORM.replace("381", "382")
    hub(kernel, other, 4)
    link(kernel, f"{other}/of_node", "firmware/devicetree/base/soc@0/usb@38200000")
    assert controllers(kernel) == {"1": ["usb@38100000"], "2": ["usb@38100000"], "4": ["usb@38200000"]}
    warn_of_bus_numbers(kernel, policy)
    assert capsys.readouterr().err == (
        "router-usbip: line 1: which controller has bus 1 depends on which one starts first; path 1-1.4 is"
        " usb@38100000/1.4 this time\n"
    )
