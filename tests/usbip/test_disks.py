# SPDX-License-Identifier: BSD-2-Clause
"""The server of disks: how it sets the kernel's target up, and what follows when disks come and go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from router.usbip.policy.edit import granted
from router.usbip.policy.file import parse_policy
from router.usbip.protocol.disks import subsystem
from router.usbip.server import disks
from router.usbip.server.disk_units import TYPE_DISK, read_units
from router.usbip.server.nvmet import LOOKING, Namespace
from tests.usbip.disk_samples import POLICY, device
from tests.usbip.disk_server import FakeNvmet, World


@pytest.fixture
def target(tmp_path: Path) -> FakeNvmet:
    for name in ("subsystems", "ports"):
        (tmp_path / "nvmet" / name).mkdir(parents=True)
    return FakeNvmet("10.77.0.2", str(tmp_path / "nvmet"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


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


def test_a_port_does_not_open_while_the_kernel_opens_a_disk(world: World, target: FakeNvmet) -> None:
    world.hold = {4421}
    world.plug(device())
    server = world.server(target)
    world.now += disks.MAX_SETTLE_S
    server.look()
    assert not target.listens(4421), "a client that reconnects would take its disk for gone"
    assert target.listens(4422), "another client does not wait for it"
    world.lanes.let_go(4421)
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


def test_a_disk_that_keeps_the_kernel_waiting_holds_up_no_other_clients_disk(world: World, target: FakeNvmet) -> None:
    world.plug(device("1-1"), "sda")
    server = world.server(target)
    world.lanes.held.add(4421)
    server.set_policy(parse_policy(POLICY + "deny 10.77.0.3 path 1-1 serial A1\n"))
    world.plug(device("1-2", "B2"), "sdb", address="1:0:0:0")
    server.news()
    assert [one.path for one in target.namespaces(4422)] == ["/dev/sdb"]
    world.lanes.let_go(4421)
    server.look()
    assert target.namespaces(4421) == []


def test_a_disk_is_given_to_another_client_only_once_the_kernel_has_taken_it_from_the_first(
    world: World, target: FakeNvmet
) -> None:
    world.plug(device())
    server = world.server(target)
    world.now += disks.SETTLE_S
    server.look()
    world.lanes.held.add(4421)
    server.set_policy(parse_policy(granted(POLICY, "10.77.0.4", device())))
    server.look()
    assert len(target.namespaces(4421)) == 1 and target.namespaces(4422) == [] and target.listens(4421)
    # A client that keeps a request open loses its connections, and with them what it has asked for.
    world.now += disks.CUT_TIMEOUT_S
    server._cut_slow()
    assert not target.listens(4421)
    world.lanes.let_go(4421)
    server.look()
    assert target.namespaces(4421) == [] and target.listens(4421)
    assert [one.path for one in target.namespaces(4422)] == ["/dev/sda"]


def test_a_disk_that_comes_back_to_a_client_by_hand_has_another_number(world: World, target: FakeNvmet) -> None:
    world.plug(device())
    server = world.server(target)
    (first,) = target.namespaces(4421)
    moved = granted(POLICY, "10.77.0.4", device())
    server.set_policy(parse_policy(moved))
    assert target.namespaces(4421) == [] and len(target.namespaces(4422)) == 1
    server.set_policy(parse_policy(granted(moved, "10.77.0.3", device())))
    (second,) = target.namespaces(4421)
    assert second.nsid != first.nsid and second.is_same(first), "what the client had before gives errors"
