# SPDX-License-Identifier: BSD-2-Clause
"""`--usb host:VENDOR:PRODUCT` finds a device of this computer, or says why it does not give it to a guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.errors import DescriptionError, HostError
from router.machines.qemu import host_device
from router.machines.qemu.usb import arguments, grant_of, parse_plug
from router.plan.models import Grant
from router.usbip.runtime import proc


class Computer:
    """A computer's sysfs, device files and mounts."""

    def __init__(self, folder: Path) -> None:
        self.root, self.nodes, self.proc = folder / "sys", folder / "dev", folder / "proc"
        self.sysfs, self.blocks = self.root / "bus/usb/devices", self.root / "class/block"
        for each in (self.sysfs, self.blocks, self.proc / "self"):
            each.mkdir(parents=True)
        self.mount("0:5", "/proc", "proc")
        (self.proc / "swaps").write_text("Filename Type Size Used Priority\n")

    def mount(self, numbers: str, place: str, source: str) -> None:
        """The only mount that there is."""
        (self.proc / "self/mountinfo").write_text(f"30 1 {numbers} / {place} rw shared:1 - vfat {source} rw\n")

    def disk(self, device: Path) -> None:
        """A disk sdq with a partition in a device."""
        for name, numbers in (("sdq", "65:0"), ("sdq/sdq1", "65:1")):
            real = device / f"{device.name}:1.0/host0/target0/block" / name
            (real / "holders").mkdir(parents=True)
            (real / "dev").write_text(f"{numbers}\n")
            (self.blocks / real.name).symlink_to(real)

    def plug(self, name: str, identity: str, number: int, speed: str = "480", device: int = 0, its: int = 8) -> Path:
        """A device with one interface of class `its`; its folder."""
        here = self.sysfs / name
        (here / f"{name}:1.0").mkdir(parents=True)
        vendor, _, product = identity.partition(":")
        values = {"idVendor": vendor, "idProduct": product, "speed": speed, "bDeviceClass": f"{device:02x}"}
        values |= {"busnum": "1", "devnum": str(number), "product": "Thing", "manufacturer": "Maker"}
        for attribute, value in values.items():
            (here / attribute).write_text(value + "\n")
        (here / f"{name}:1.0/bInterfaceClass").write_text(f"{its:02x}\n")
        node = self.nodes / "001" / f"{number:03}"
        node.parent.mkdir(parents=True, exist_ok=True)
        node.touch()
        return here


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    made = Computer(tmp_path)
    monkeypatch.setattr(host_device, "SYSFS", made.root)
    monkeypatch.setattr(host_device, "NODES", made.nodes)
    monkeypatch.setattr(proc, "PROC", str(made.proc))
    return made


def refusal(text: str) -> tuple[str, str]:
    with pytest.raises(DescriptionError) as caught:
        parse_plug(text, 1)
    return caught.value.message, caught.value.hint or ""


def test_a_device_goes_where_rules_for_its_identity_class_or_port_send_it(computer: Computer) -> None:
    computer.plug("1-4", "0781:5567", 7)
    plug = parse_plug("host:0781:5567", 1)
    assert "usb-host,bus=usb.0,port=1,id=plug1,vendorid=0x0781,productid=0x5567" in arguments((plug,))
    assert plug.path == "1-1"
    for wanted in (Grant("server", "client", vendor=0x0781, product=0x5567), Grant("server", "client", device_class=8)):
        assert grant_of(plug, (wanted,)) == wanted
    assert grant_of(plug, (Grant("server", "client", device_class=3),)) is None


def test_a_superspeed_device_is_on_the_superspeed_bus(computer: Computer) -> None:
    computer.plug("2-1", "0781:ABCD".lower(), 7, speed="5000")
    assert parse_plug("host:0781:ABCD", 1).path == "2-1"


def test_an_identity_is_eight_digits(computer: Computer) -> None:
    message, hint = refusal("host:781:5567")
    assert message == "'781:5567' is not VENDOR:PRODUCT, four hexadecimal digits each"
    assert "lsusb" in hint
    assert refusal("host")[1] == "write --usb host:VENDOR:PRODUCT, as lsusb shows them"


def test_a_device_that_is_not_there_is_answered_with_those_that_are(computer: Computer) -> None:
    assert refusal("host:0781:5567") == (
        "no USB device 0781:5567 is plugged into this computer",
        "it sees no USB devices at all",
    )
    computer.plug("usb1", "1d6b:0002", 1, device=9, its=9)
    for number in range(2, 12):
        computer.plug(f"1-{number}", f"1209:00{number:02}", number)
    _, hint = refusal("host:0781:5567")
    assert hint.startswith("there are: 1209:0010 (Maker Thing), ")
    assert hint.endswith(" and 2 more")
    assert "1d6b" not in hint


def test_of_two_alike_none_is_taken(computer: Computer) -> None:
    computer.plug("1-1", "0781:5567", 7)
    computer.plug("1-2", "0781:5567", 8)
    assert refusal("host:0781:5567")[0] == "2 devices of this computer are 0781:5567, and QEMU would take any"


def test_a_hub_stays(computer: Computer) -> None:
    computer.plug("1-1", "0409:55aa", 7, device=9, its=9)
    assert refusal("host:0409:55aa")[0] == "0409:55aa is a hub, and stays with this computer"


@pytest.mark.parametrize("source", ["/dev/sdq1", "/dev/root"])
def test_a_disk_that_is_mounted_stays(computer: Computer, source: str) -> None:
    computer.disk(computer.plug("1-1", "0781:5567", 7))
    assert parse_plug("host:0781:5567", 1).kind == "host"
    computer.mount("65:1", "/media/stick", source)
    assert refusal("host:0781:5567")[0] == "0781:5567 (Maker Thing) is in use on this computer: sdq1 on /media/stick"


def test_a_disk_below_luks_lvm_or_raid_stays(computer: Computer) -> None:
    computer.disk(computer.plug("1-1", "0781:5567", 7))
    mapped = computer.root / "devices/virtual/block/dm-0"
    (mapped / "dm").mkdir(parents=True)
    (mapped / "dm/name").write_text("secret\n")
    for link in ("dm-0", "sdq1/holders/dm-0"):
        (computer.blocks / link).symlink_to(mapped)
    message, hint = refusal("host:0781:5567")
    assert message == "0781:5567 (Maker Thing) is in use on this computer: sdq1 by secret"
    assert "LUKS, LVM" in hint


def test_a_disk_with_swap_stays(computer: Computer) -> None:
    computer.disk(computer.plug("1-1", "0781:5567", 7))
    with (computer.proc / "swaps").open("a") as file:
        file.write("/dev/sdq1 partition 1000 0 -2\n")
    assert refusal("host:0781:5567")[0].endswith("in use on this computer: sdq1 as swap")


@pytest.mark.parametrize("attribute", ["idVendor", "idProduct", "1-1:1.0/bInterfaceClass"])
def test_a_device_that_goes_while_it_is_read_is_not_there(computer: Computer, attribute: str) -> None:
    file = computer.plug("1-1", "0781:5567", 7) / attribute
    file.write_text("")
    assert refusal("host:0781:5567")[0] == "no USB device 0781:5567 is plugged into this computer"


def test_a_device_that_this_user_may_not_use_says_how_to_change_that(computer: Computer) -> None:
    computer.plug("1-1", "0781:5567", 7)
    node = computer.nodes / "001/007"
    node.unlink()
    with pytest.raises(HostError, match=f"{node} .Maker Thing. cannot be opened") as caught:
        parse_plug("host:0781:5567", 1)
    assert caught.value.hint == f"sudo setfacl -m u:$USER:rw {node}"
