# SPDX-License-Identifier: BSD-2-Clause
"""Disks that go as blocks: what is exported where, how the server sets the kernel up, and the client's names."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from router.errors import DescriptionError
from router.usbip.client.nvme import KeepDisks, Target
from router.usbip.commands.keep_disks import parse_disks, render_disks
from router.usbip.policy.file import parse_policy
from router.usbip.protocol.device import SPEED_HIGH, Device
from router.usbip.protocol.disks import (
    MAX_LUNS,
    Disk,
    disk_name,
    name_in,
    nguid_of,
    place_of,
    subsystem,
    uuid_of,
    valid_disk_name,
)
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.server import disks
from router.usbip.server.disk_plan import Plan, plan
from router.usbip.server.disk_units import TYPE_DISK, TYPE_OPTICAL, Unit, read_units
from router.usbip.server.disks import DiskServer
from router.usbip.server.nvmet import LOOKING, Namespace, Nvmet

DISK = (0x08, 0x06, 0x50)
KEYBOARD = (0x03, 0x01, 0x01)
POLICY = """
allow 10.77.0.3 path 1-1 blocks 4421 name data
allow 10.77.0.4 class mass-storage blocks 4422
allow 10.77.0.4 class hid
"""


def device(busid: str = "1-1", serial: str = "A1", devnum: int = 2, interface: tuple[int, int, int] = DISK) -> Device:
    return Device(
        busid,
        SPEED_HIGH,
        1,
        devnum,
        0x46F4,
        1,
        interfaces=(interface,),
        serial=serial,
        product="Disk",
        manufacturer="Q",
    )


def unit(block: str = "sda", **changes: object) -> Unit:
    facts = {"lun": 0, "kind": TYPE_DISK, "block": block, "sectors": 2048, "read_only": False} | changes
    return Unit(**facts)  # type: ignore[arg-type]


def planned(*units: Unit, policy: str = POLICY, of: Device | None = None) -> Plan:
    one = of or device()
    return plan([one], {one.busid: list(units)}, parse_policy(policy))


# Who may have what


def test_a_disk_goes_to_the_client_and_port_of_the_most_exact_rule_and_not_by_usbip() -> None:
    (one,) = planned(unit()).wanted
    assert (one.client, one.tcp, one.called) == ("10.77.0.3", 4421, "data")
    (one,) = planned(unit(), of=device("1-2.4")).wanted
    assert (one.client, one.tcp, one.called) == ("10.77.0.4", 4422, "usb-1-2.4")
    policy = parse_policy(POLICY)
    assert "gives it as blocks" in policy.decide("10.77.0.3", device()).reason
    assert not any(policy.decide(client, device()).allowed for client in ("10.77.0.3", "10.77.0.4"))
    assert not policy.is_granted(device())
    keyboard = device("1-3", interface=KEYBOARD)
    assert policy.decide("10.77.0.4", keyboard).allowed and policy.is_granted(keyboard)


def test_a_rule_for_any_client_does_not_take_a_disk_from_the_road_that_a_rule_names() -> None:
    policy = parse_policy("allow 10.77.0.3 path 1-1 blocks 4421\nallow any all\n")
    assert not policy.is_granted(device()) and not policy.decide("10.77.0.9", device()).allowed
    denied = parse_policy("allow 10.77.0.3 class mass-storage blocks 4421\ndeny 10.77.0.3 path 1-1\n")
    assert denied.blocks(device()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("allow any class hid blocks 4421", "any gets no disk as blocks"),
        ("allow 10.77.0.0/24 class hid blocks 4421", "10.77.0.0/24 gets no disk as blocks"),
        ("allow 10.77.0.3 class hid blocks 0", "'0' is not a TCP port"),
        ("allow 10.77.0.3 class hid blocks 65536", "'65536' is not a TCP port"),
        ("allow 10.77.0.3 class hid blocks 4421 port 1", "a disk that goes as blocks has no virtual port"),
        ("allow 10.77.0.3 class hid name data", "only what goes as blocks has a name"),
        ("allow 10.77.0.3 class hid blocks 4421 name ../sda", "'../sda' is not a disk's name"),
        (f"allow 10.77.0.3 class hid blocks 4421 name {'n' * 28}", f"'{'n' * 28}' is not a disk's name"),
        ("deny 10.77.0.3 class hid blocks 4421", "a deny rule has no blocks"),
        ("allow 10.77.0.3 blocks 4421", "the rule does not say which device"),
    ],
)
def test_a_wrong_line_of_the_policy_is_an_error_with_its_place(line: str, message: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        parse_policy(line)
    assert (caught.value.message, caught.value.where) == (message, "usb-policy:1")
    assert caught.value.hint


def test_one_tcp_port_for_two_clients_is_an_error() -> None:
    parse_policy("allow 10.77.0.3 path 1-1 blocks 4421\nallow 10.77.0.3 path 1-2 blocks 4421\n")
    with pytest.raises(DescriptionError) as caught:
        parse_policy("allow 10.77.0.3 path 1-1 blocks 4421\nallow 10.77.0.4 path 1-2 blocks 4421\n")
    assert caught.value.message == "line 1 gives TCP port 4421 to 10.77.0.3"
    assert caught.value.where == "usb-policy:2" and caught.value.hint


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (unit(sectors=0), "has no medium in it"),
        (unit(read_only=True), "is write-protected, which cannot be kept up as blocks; write as: usb for it"),
        (unit("", kind=TYPE_OPTICAL), "is an optical drive; write as: usb for it"),
        (unit("", kind="1"), "is not a disk but a SCSI device of type 1; write as: usb for it"),
    ],
)
def test_what_cannot_go_as_blocks_is_not_exported_and_said(one: Unit, why: str) -> None:
    found = planned(one)
    assert (found.wanted, found.refused, found.pending) == ([], {"1-1 46f4:0001": why}, False)


def test_a_device_that_is_no_disk_is_not_exported_at_all() -> None:
    found = planned(of=device(interface=KEYBOARD))
    assert (found.wanted, found.refused) == ([], {"1-1 46f4:0001": "is not a disk; write as: usb for it"})


def test_a_disk_whose_drivers_have_not_found_it_yet_is_waited_for() -> None:
    found = planned()
    assert (found.wanted, found.refused, found.pending) == ([], {}, True)


def test_two_clients_never_get_the_same_disk() -> None:
    both = "allow 10.77.0.3 class mass-storage blocks 4421\nallow 10.77.0.4 class 08/06 blocks 4422\n"
    found = planned(unit(), policy=both.replace("08/06", "mass-storage"))
    assert found.wanted == [] and "2 clients may have it" in found.refused["1-1 46f4:0001"]


def test_a_name_is_given_once_and_each_logical_unit_has_its_own() -> None:
    policy = parse_policy("allow 10.77.0.3 class mass-storage blocks 4421 name data\n")
    first, second = device("1-1"), device("1-2", "B2")
    found = plan([first, second], {"1-1": [unit(), unit("sdb", lun=1)], "1-2": [unit("sdc")]}, policy)
    assert [one.called for one in found.wanted] == ["data", "data-lun1"]
    assert found.refused["1-2 46f4:0001"].startswith("the name data is taken by 1-1 46f4:0001")


def test_the_longest_name_leaves_room_for_the_last_logical_unit() -> None:
    policy = f"allow 10.77.0.3 class mass-storage blocks 4421 name {'n' * 27}\n"
    (one,) = planned(unit(lun=MAX_LUNS - 1), policy=policy).wanted
    assert valid_disk_name(one.called)


def test_a_unit_that_is_not_exported_takes_no_name() -> None:
    policy = parse_policy("allow 10.77.0.3 class mass-storage blocks 4421 name data\n")
    found = plan([device("1-1"), device("1-2", "B2")], {"1-1": [unit(sectors=0)], "1-2": [unit("sdb")]}, policy)
    assert [(one.disk.device.busid, one.called) for one in found.wanted] == [("1-2", "data")]


def test_of_two_units_with_one_number_the_second_is_refused() -> None:
    found = planned(unit("sda"), unit("sdb"))
    assert [one.disk.block for one in found.wanted] == ["sda"]
    assert found.refused == {"1-1 46f4:0001 sdb": "has the number of sda; only one of them is served"}
    assert [one.disk.block for one in planned(unit("sda", sectors=0), unit("sdb")).wanted] == ["sdb"]


def test_a_unit_whose_block_device_is_not_there_yet_is_waited_for_while_the_others_are_exported() -> None:
    found = planned(unit("sda"), unit("", lun=1))
    assert ([one.called for one in found.wanted], found.refused, found.pending) == (["data"], {}, True)


# Which disk it is


def test_identifiers_follow_from_the_disk_so_another_one_in_its_port_never_passes_as_it() -> None:
    def identifiers(one: Device, sectors: int = 2048, lun: int = 0) -> tuple[str, str]:
        disk = Disk(one, lun, "sda", sectors)
        return uuid_of(disk.digest()), nguid_of(disk.digest(), place_of(disk, "data"))

    same = identifiers(device())
    assert identifiers(device(devnum=9)) == same
    for other in (identifiers(device(serial="B2")), identifiers(device(), 4096), identifiers(device(), lun=1)):
        assert other[0] != same[0] and other[1][:18] != same[1][:18]


def test_a_client_reads_the_name_from_the_identifier() -> None:
    for busid in ("1-1", "2-15", "1-1.2.3.4.5.6", "12-3.1"):
        for lun in (0, 3):
            disk = Disk(device(busid), lun, "sda", 2048)
            for name in ("", "data"):
                nguid = nguid_of(disk.digest(), place_of(disk, name))
                assert name_in(nguid, ("other", "data")) == disk_name(disk, name)


@pytest.mark.parametrize("nguid", ["", "zz", "00" * 15, "00" * 16, "ff" * 17, "11" * 8 + "00" * 8])
def test_an_identifier_that_is_not_ours_gives_no_name(nguid: str) -> None:
    assert name_in(nguid, ("data",)) == ""


# The kernel's target


class FakeNvmet(Nvmet):
    """configfs makes a folder's attributes with it and takes them with it."""

    ATTRIBUTES: ClassVar = {
        "subsystems": ("attr_allow_any_host", "attr_serial", "attr_model"),
        "ports": ("addr_trtype", "addr_adrfam", "addr_traddr", "addr_trsvcid"),
        "namespaces": ("device_path", "device_uuid", "device_nguid", "enable"),
    }
    refuses = ""

    def _folder(self, name: str) -> str:
        path = super()._folder(name)
        kind = path.split("/")[-2]
        for attribute in self.ATTRIBUTES[kind]:
            Path(path, attribute).touch()
        for inner in {"subsystems": ["namespaces"], "ports": ["subsystems"]}.get(kind, []):
            Path(path, inner).mkdir(exist_ok=True)
        return path

    def _set(self, folder: str, attribute: str, text: str) -> None:
        if self.refuses == attribute:
            raise OSError(16, "Device or resource busy")
        Path(folder, attribute).write_text(text)

    def _drop(self, folder: str) -> None:
        shutil.rmtree(folder)


@pytest.fixture
def target(tmp_path: Path) -> FakeNvmet:
    for name in ("subsystems", "ports"):
        (tmp_path / "nvmet" / name).mkdir(parents=True)
    return FakeNvmet("10.77.0.2", str(tmp_path / "nvmet"))


def test_each_client_has_a_subsystem_and_a_port_that_opens_when_told(target: FakeNvmet, tmp_path: Path) -> None:
    target.prepare(4421)
    port = tmp_path / "nvmet/ports/4421"
    assert {name: (port / name).read_text() for name in target.ATTRIBUTES["ports"]} == {
        "addr_trtype": "tcp",
        "addr_adrfam": "ipv4",
        "addr_traddr": "10.77.0.2",
        "addr_trsvcid": "4421",
    }
    assert not target.listens(4421)
    target.listen(4421)
    assert target.listens(4421) and target.ports() == [4421]
    assert [path.name for path in (port / "subsystems").iterdir()] == [subsystem("10.77.0.2", 4421)]
    target.prepare(4421)


def test_a_disk_that_the_kernel_refuses_leaves_nothing(target: FakeNvmet) -> None:
    target.prepare(4421)
    target.refuses = "enable"
    with pytest.raises(OSError, match="busy"):
        target.add(4421, Namespace(7, "/dev/sda", "u", "n"))
    assert target.namespaces(4421) == []


class World:
    """A server's sysfs with USB disks that can be plugged."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sysfs = Sysfs(str(root / "sys"))
        self.root = root
        self.devices: dict[str, Device] = {}
        (root / "sys/bus/scsi/devices").mkdir(parents=True)
        self.now = 100.0
        self.late: set[str] = set()
        monkeypatch.setattr(disks, "find_devices", self.find)
        monkeypatch.setattr(disks, "time", SimpleNamespace(monotonic=lambda: self.now))

    def find(self, sysfs: Sysfs, known: dict[str, Device], late: set[str]) -> dict[str, Device]:
        late |= self.late
        return {busid: one for busid, one in self.devices.items() if busid not in self.late}

    def plug(self, one: Device, block: str = "sda", sectors: int = 2048, address: str = "0:0:0:0") -> None:
        real = self.root / f"sys/devices/usb1/{one.busid}/{one.busid}:1.0/host/target/{address}"
        one.path = str(self.root / f"sys/devices/usb1/{one.busid}")
        (real / "block" / block).mkdir(parents=True)
        (real / "type").write_text("0\n")
        (real / f"block/{block}/size").write_text(f"{sectors}\n")
        (real / f"block/{block}/ro").write_text("0\n")
        (self.root / "sys/bus/scsi/devices" / address).symlink_to(real)
        self.devices[one.busid] = one

    def unplug(self, busid: str) -> None:
        for link in (self.root / "sys/bus/scsi/devices").iterdir():
            if f"/{busid}/" in str(link.readlink()):
                link.unlink()
        shutil.rmtree(self.root / f"sys/devices/usb1/{busid}")
        del self.devices[busid]

    def server(self, target: Nvmet, policy: str = POLICY) -> DiskServer:
        server = DiskServer(self.sysfs, target, parse_policy(policy))
        server.start()
        return server


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_the_servers_drivers_units_are_found_below_their_device_only(world: World) -> None:
    world.plug(device("1-1"))
    (found,) = read_units(world.sysfs, world.devices["1-1"])
    assert (found.block, found.sectors, found.kind, found.read_only) == ("sda", 2048, "0", False)
    assert read_units(world.sysfs, device("1-11")) == []
    shutil.rmtree(next(world.root.glob("sys/devices/usb1/1-1/**/block")))
    (found,) = read_units(world.sysfs, world.devices["1-1"])
    assert (found.kind, found.block) == (TYPE_DISK, "")


def test_a_disk_is_exported_to_its_client_only_and_its_port_opens_once_all_has_settled(
    world: World, target: FakeNvmet, capsys: pytest.CaptureFixture[str]
) -> None:
    world.plug(device())
    server = world.server(target)
    (there,) = target.namespaces(4421)
    assert there.path == "/dev/sda" and target.namespaces(4422) == []
    assert not target.listens(4421)
    world.now += disks.SETTLE_S
    server.look()
    assert target.listens(4421) and target.listens(4422)
    said = capsys.readouterr().out
    assert "exported 1-1 46f4:0001 as disk data for 10.77.0.3\n" in said and "disk port 4421 is open\n" in said


def test_a_port_does_not_open_while_the_kernel_is_at_a_device(world: World, target: FakeNvmet) -> None:
    world.plug(device())
    world.late = {"1-1"}
    server = world.server(target)
    world.now += disks.SETTLE_S
    server.look()
    assert target.namespaces(4421) == [] and not target.listens(4421)
    world.late = set()
    server.look()
    assert len(target.namespaces(4421)) == 1 and target.listens(4421)


def test_a_disk_that_comes_back_has_another_number_and_after_a_servers_restart_its_first_one(
    world: World, target: FakeNvmet, tmp_path: Path
) -> None:
    world.plug(device())
    server = world.server(target)
    (first,) = target.namespaces(4421)
    world.unplug("1-1")
    server.news()
    assert target.namespaces(4421) == []
    world.plug(device(devnum=3))
    server.news()
    (second,) = target.namespaces(4421)
    assert second.nsid != first.nsid and second.is_same(first), "else a client would take it for never gone"
    shutil.rmtree(tmp_path / "nvmet")
    for name in ("subsystems", "ports"):
        (tmp_path / "nvmet" / name).mkdir(parents=True)
    world.server(target)
    (third,) = target.namespaces(4421)
    assert third.nsid == first.nsid, "a client that waits for the server finds its disk under its number"


def test_a_program_that_starts_again_goes_on_with_what_is_exported_and_removes_the_rest(
    world: World, target: FakeNvmet
) -> None:
    world.plug(device())
    world.server(target)
    (first,) = target.namespaces(4421)
    target.add(4421, Namespace(first.nsid + 1, "/dev/sdx", "u", "n"))
    world.server(target)
    assert [one.nsid for one in target.namespaces(4421)] == [first.nsid]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_disk_in_use_keeps_its_name_when_another_is_plugged_in_at_a_port_before_it(
    world: World, target: FakeNvmet, restarted: bool
) -> None:
    policy = "allow 10.77.0.3 class mass-storage blocks 4421 name data\n"
    world.plug(device("1-2"), "sda")
    server = world.server(target, policy)
    (first,) = target.namespaces(4421)
    world.plug(device("1-1", "B2"), "sdb", address="1:0:0:0")
    if restarted:
        server = world.server(target, policy)
    server.news()
    (there,) = target.namespaces(4421)
    assert (there.nsid, there.path) == (first.nsid, "/dev/sda")
    world.unplug("1-2")
    server.news()
    assert [one.path for one in target.namespaces(4421)] == ["/dev/sdb"]


def test_another_medium_in_the_same_reader_is_another_disk_even_where_all_else_is_the_same(
    world: World, target: FakeNvmet
) -> None:
    world.plug(device())
    (block,) = world.root.glob("sys/devices/usb1/1-1/**/block/sda")
    (block / "diskseq").write_text("7\n")
    server = world.server(target)
    (first,) = target.namespaces(4421)
    server.look()
    assert [one.nsid for one in target.namespaces(4421)] == [first.nsid]
    (block / "diskseq").write_text("8\n")
    server.look()
    (second,) = target.namespaces(4421)
    assert second.nsid != first.nsid and second.is_same(first)


def test_a_card_that_is_put_into_an_empty_reader_is_found_though_its_size_is_known_only_once_it_was_opened(
    world: World, target: FakeNvmet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.plug(device(), sectors=0)
    (block,) = world.root.glob("sys/devices/usb1/1-1/**/block/sda")
    opened: list[str] = []
    is_in = False

    def write(folder: str, attribute: str, text: str) -> None:
        real(folder, attribute, text)
        if (attribute, text) == ("enable", "1") and folder.startswith(f"{tmp_path}/nvmet/subsystems/{LOOKING}/"):
            opened.append(Path(folder, "device_path").read_text())
            if not is_in:
                raise OSError(123, "No medium found")
            (block / "size").write_text("4096\n")

    real = target._set
    monkeypatch.setattr(target, "_set", write)
    (block / "diskseq").write_text("7\n")
    server = world.server(target)
    server.look()
    assert opened == ["/dev/sda"] and target.namespaces(4421) == [], "opened once, not each second"
    is_in = True
    (block / "diskseq").write_text("8\n")
    server.look()
    assert opened == ["/dev/sda"] * 2 and [one.path for one in target.namespaces(4421)] == ["/dev/sda"]
    assert list((tmp_path / f"nvmet/subsystems/{LOOKING}/namespaces").iterdir()) == []


def test_a_policy_that_takes_the_disk_away_is_in_force_at_once(world: World, target: FakeNvmet) -> None:
    world.plug(device())
    server = world.server(target)
    server.set_policy(parse_policy(POLICY + "deny 10.77.0.3 path 1-1 serial A1\n"))
    assert target.namespaces(4421) == []


@pytest.mark.parametrize("restarted", [False, True])
def test_the_port_of_a_client_that_the_policy_no_longer_names_is_closed_and_empty(
    world: World, target: FakeNvmet, restarted: bool
) -> None:
    world.plug(device())
    server = world.server(target)
    world.now += disks.SETTLE_S
    server.look()
    assert target.listens(4421) and target.namespaces(4421)
    later = "allow 10.77.0.4 class mass-storage blocks 4422\n"
    if restarted:
        world.server(target, later)
    else:
        server.set_policy(parse_policy(later))
    assert not target.listens(4421) and target.namespaces(4421) == []
    assert [one.path for one in target.namespaces(4422)] == ["/dev/sda"]


def test_a_port_of_another_program_is_left_alone(world: World, target: FakeNvmet) -> None:
    target._folder("ports/1")
    target._folder("subsystems/nqn.2014-08.org.example:else")
    link = Path(target._link(1)).with_name("nqn.2014-08.org.example:else")
    link.symlink_to(link.parents[3] / "subsystems/nqn.2014-08.org.example:else")
    world.server(target)
    assert link.is_symlink()


def test_a_disk_that_cannot_be_withdrawn_is_given_to_no_other_client_and_said_once(
    world: World, target: FakeNvmet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(tcp: int, nsid: int) -> None:
        raise OSError(16, "Device or resource busy")

    remove = target.remove
    world.plug(device())
    server = world.server(target)
    other = parse_policy(
        "allow 10.77.0.3 path 1-9 blocks 4421 name data\nallow 10.77.0.4 class mass-storage blocks 4422\n"
    )
    monkeypatch.setattr(target, "remove", refuse)
    server.set_policy(other)
    server.look()
    assert target.namespaces(4422) == [] and len(target.namespaces(4421)) == 1
    assert capsys.readouterr().err.count("cannot withdraw data") == 1
    monkeypatch.setattr(target, "remove", remove)
    server.look()
    assert target.namespaces(4421) == [] and len(target.namespaces(4422)) == 1


@pytest.mark.parametrize(
    ("refused", "said"), [("enable", "cannot export sda"), ("", "cannot listen at 10.77.0.2:4421")]
)
def test_what_fails_each_second_is_said_once(
    world: World,
    target: FakeNvmet,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    refused: str,
    said: str,
) -> None:
    def refuse(tcp: int) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(target, "listen", refuse)
    target.refuses = refused
    world.plug(device())
    server = world.server(target)
    world.now += disks.SETTLE_S
    for _ in range(3):
        server.look()
    assert capsys.readouterr().err.count(said) == 1


# The client


@pytest.fixture
def client(tmp_path: Path) -> KeepDisks:
    """nvme0 is the connection; links and requests are in files."""
    sys, links = tmp_path / "sys", tmp_path / "dev/disk/by-router"
    links.mkdir(parents=True)
    (tmp_path / "fabrics").touch()
    (sys / "class/nvme").mkdir(parents=True)
    (sys / "class/block").mkdir()
    targets = [Target("10.77.0.2", 4421)]
    return KeepDisks(Sysfs(str(sys)), targets, ("data",), 120, str(links), str(tmp_path / "fabrics"))


def connect(root: Path, state: str = "live", nqn: str = subsystem("10.77.0.2", 4421)) -> None:
    controller = root / "sys/class/nvme/nvme0"
    controller.mkdir(parents=True, exist_ok=True)
    (controller / "subsysnqn").write_text(f"{nqn}\n")
    (controller / "state").write_text(f"{state}\n")


def appear(root: Path, disk: Disk, name: str, block: str = "nvme0n1", sectors: int = 4096) -> Path:
    real = root / f"sys/devices/virtual/nvme-fabrics/ctl/nvme0/{block}"
    (real / f"{block}p1").mkdir(parents=True)
    (real / "queue").mkdir()
    (real / "queue/read_ahead_kb").write_text("128\n")
    (real / "nguid").write_text(f"{nguid_of(disk.digest(), place_of(disk, name))}\n")
    (real / "size").write_text(f"{sectors}\n")
    (real / f"{block}p1/partition").write_text("1\n")
    (root / f"sys/class/block/{block}").symlink_to(real)
    (root / f"sys/class/block/{block}p1").symlink_to(real / f"{block}p1")
    return real


def links(root: Path) -> dict[str, str]:
    return {path.name: str(path.readlink()) for path in (root / "dev/disk/by-router").iterdir()}


def test_the_client_asks_for_its_own_port_with_stated_times(client: KeepDisks, tmp_path: Path) -> None:
    client.connect()
    words = dict(word.split("=") for word in (tmp_path / "fabrics").read_text().split(","))
    assert words.pop("hostnqn") and words.pop("nqn") == subsystem("10.77.0.2", 4421)
    assert words == {
        "transport": "tcp",
        "traddr": "10.77.0.2",
        "trsvcid": "4421",
        "keep_alive_tmo": "5",
        "reconnect_delay": "1",
        "ctrl_loss_tmo": "120",
    }
    (tmp_path / "fabrics").write_text("")
    connect(tmp_path, "connecting")
    client.connect()
    assert (tmp_path / "fabrics").read_text() == "", "the kernel is at it already"


def test_a_disk_and_its_partitions_are_linked_by_name_and_go_with_it(
    client: KeepDisks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connect(tmp_path)
    real = appear(tmp_path, Disk(device(), 0, "sda", 4096), "data")
    client.look()
    client.look()
    assert links(tmp_path) == {"data": "../../nvme0n1", "data-part1": "../../nvme0n1p1"}
    assert (real / "queue/read_ahead_kb").read_text() == "4096"
    assert capsys.readouterr().out == "router-usbip: disk data ready: nvme0n1, 2 MiB\n"
    for name in ("nvme0n1", "nvme0n1p1"):
        (tmp_path / "sys/class/block" / name).unlink()
    client.look()
    assert links(tmp_path) == {}
    assert capsys.readouterr().out == "router-usbip: disk data has gone\n"
    rescan = tmp_path / "sys/class/nvme/nvme0/rescan_controller"
    for asked in (True, True, True, False):
        rescan.write_text("")
        client.connect()
        assert (rescan.read_text() == "1") is asked, "the kernel may have left out the same disk under a new number"


def test_disks_of_other_connections_and_without_a_name_of_ours_are_left_alone(
    client: KeepDisks, tmp_path: Path
) -> None:
    connect(tmp_path, nqn="nqn.2014-08.org.example:else")
    appear(tmp_path, Disk(device(), 0, "sda", 4096), "data")
    client.look()
    assert links(tmp_path) == {}
    connect(tmp_path)
    (tmp_path / "sys/class/block/nvme0n1").resolve().joinpath("nguid").write_text("00" * 16)
    client.look()
    assert links(tmp_path) == {}


def test_waiting_for_a_server_is_said_once_and_so_is_its_return(
    client: KeepDisks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for state in ("connecting", "live", "resetting", "connecting", "connecting", "live"):
        connect(tmp_path, state)
        client.look()
    assert capsys.readouterr().out.splitlines() == [
        "router-usbip: disk server away: reads and writes wait for it, 120 s at the most",
        "router-usbip: disk server back",
    ]


def test_the_clients_file_is_read_as_it_is_written() -> None:
    text = render_disks([("10.77.0.2", 4421)], ["data", "more"])
    disks_file = parse_disks(text, "disks")
    targets, names = disks_file.targets, disks_file.names
    assert ([(one.address, one.tcp) for one in targets], names) == ([("10.77.0.2", 4421)], ("data", "more"))
    for wrong in ("server 10.77.0.2", "server host 1", "server 10.77.0.2,x=1 4421", "name a/b", "else"):
        with pytest.raises(DescriptionError):
            parse_disks(wrong, "disks")
