# SPDX-License-Identifier: BSD-2-Clause
"""Parts of one disk for several guests: what the policy says, and what the server exports of what is on the disk."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from router.errors import DescriptionError
from router.usbip.client.nvme import Target
from router.usbip.commands.keep_disks import parse_disks, render_disks
from router.usbip.policy.file import parse_policy, render_policy
from router.usbip.protocol.device import SPEED_HIGH, Device
from router.usbip.protocol.disks import Disk, name_in, nguid_of, place_of, uuid_of
from router.usbip.runtime.sysfs import Sysfs
from router.usbip.server import disks
from router.usbip.server.disk_plan import Plan, Wanted, plan
from router.usbip.server.disk_units import TYPE_DISK, Part, Unit, read_units
from router.usbip.server.disks import DiskServer
from router.usbip.server.nvmet import Nvmet
from tests.usbip.disk_server import Lanes

DISK = (0x08, 0x06, 0x50)
A, B = "10.77.0.3", "10.77.0.4"
MIB = 1 << 20
POLICY = f"""
allow {A} class mass-storage blocks 4421 name data-a size {4 * MIB}
allow {B} class mass-storage blocks 4422 name data-b size {2 * MIB}
"""


def device(busid: str = "1-1", serial: str = "A1", interface: tuple[int, int, int] = DISK) -> Device:
    return Device(busid, SPEED_HIGH, 1, 2, 0x46F4, 1, interfaces=(interface,), serial=serial, product="Disk")


def part(name: str = "data-a", block: str = "sda1", mib: int = 4, start: int = 2048, read_only: bool = False) -> Part:
    return Part(name, block, start, mib * 2048, read_only)


PARTS = (part(), part("data-b", "sda2", 2, 10240))


def unit(*parts: Part, block: str = "sda", read_only: bool = False) -> Unit:
    return Unit(0, TYPE_DISK, block, 1 << 20, read_only, "7", parts)


def planned(*units: Unit, policy: str = POLICY, of: Device | None = None) -> Plan:
    one = of or device()
    return plan([one], {one.busid: list(units)}, parse_policy(policy))


def ways(found: Plan) -> list[tuple[str, int, str, str]]:
    return [(one.client, one.tcp, one.called, one.disk.block) for one in found.wanted]


def test_each_part_goes_to_its_guest_only_and_neither_goes_as_a_whole_or_by_usbip() -> None:
    found = planned(unit(*PARTS))
    assert ways(found) == [(A, 4421, "data-a", "sda1"), (B, 4422, "data-b", "sda2")]
    assert (found.refused, found.missing, found.pending) == ({}, {}, False)
    policy = parse_policy(POLICY + "allow any all\n")
    assert policy.blocks(device()) == [] and not policy.is_granted(device())
    for client in (A, B, "10.77.0.9"):
        assert not policy.decide(client, device()).allowed
    assert ways(plan([device()], {"1-1": [unit(*PARTS)]}, policy)) == ways(found)


def test_a_part_that_is_still_another_guests_goes_to_nobody() -> None:
    policy = f"allow {A} class mass-storage blocks 4421 name data-a size {4 * MIB} owner 1a2b3c4d\n"
    assert ways(planned(unit(part("data-a:1a2b3c4d")), policy=policy)) == [(A, 4421, "data-a", "sda1")]
    for name in ("data-a:00000000", "data-a"):
        found = planned(unit(part(name)), policy=policy)
        why = "is not marked as this client's: see router disk prepare"
        assert (ways(found), found.refused, found.missing) == ([], {"1-1 46f4:0001 part data-a": why}, {})
    with pytest.raises(DescriptionError, match="is not the owner of a partition"):
        parse_policy(policy.replace("1a2b3c4d", "1A2B3C4D"))
    with pytest.raises(DescriptionError, match="only a part of a disk has an owner"):
        parse_policy(policy.replace(f"size {4 * MIB} ", ""))


def test_parts_that_have_blocks_in_common_go_to_nobody() -> None:
    found = planned(unit(part(), part("data-b", "sda2", 2, 2048 + 4 * 2048 - 1)))
    assert ways(found) == []
    assert found.refused == {
        "1-1 46f4:0001 part data-a": "has blocks in common with the part data-b: see router disk prepare",
        "1-1 46f4:0001 part data-b": "has blocks in common with the part data-a: see router disk prepare",
    }
    first, second = (Disk(device(), 0, f"sda{at}", 8, "7", f"p{at}", at, "sda") for at in (1, 8))
    assert first.overlaps(second) and second.overlaps(first)
    apart = Disk(device(), 0, "sda9", 8, "7", "p9", 9, "sda")
    assert not first.overlaps(apart) and not apart.overlaps(first)


def test_a_guest_may_have_several_parts_and_a_more_exact_line_takes_another_disk_from_them() -> None:
    more = POLICY + f"allow {A} class mass-storage blocks 4421 name more size {MIB}\n"
    parts = (*PARTS, part("more", "sda3", 1, 20480))
    found = planned(unit(*parts), policy=more)
    assert {(one.client, one.called) for one in found.wanted} == {(A, "data-a"), (A, "more"), (B, "data-b")}
    exact = parse_policy(f"{more}allow {B} path 1-2 blocks 4422 name whole\n")
    assert exact.parts(device("1-2")) == []
    assert [one.rule.name for one in exact.blocks(device("1-2")) if one.rule] == ["whole"]
    denied = parse_policy(f"{POLICY}deny {A} path 1-1\n")
    assert [one.rule.name for one in denied.parts(device()) if one.rule] == ["data-b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"allow {A} class hid blocks 4421 name data size 0", "'0' is not the size of a partition"),
        (f"allow {A} class hid blocks 4421 name data size 2GiB", "'2GiB' is not the size of a partition"),
        (f"allow {A} class hid blocks 4421 size 1048576", "a part of a disk is found by its name"),
        (f"allow {A} blocks 4421 name data size 1048576", "the rule does not say which device"),
    ],
)
def test_a_wrong_size_in_the_policy_is_an_error_with_its_place(line: str, message: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        parse_policy(line)
    assert (caught.value.message, caught.value.where) == (message, "usb-policy:1") and caught.value.hint


def test_the_policy_of_a_plan_is_read_back_as_it_was_meant() -> None:
    grant: dict[str, str | int] = {"client": A, "class": "mass-storage", "blocks": 4421, "name": "data", "size": MIB}
    (rule,) = parse_policy(render_policy([grant])).rules
    assert (rule.tcp, rule.name, rule.size) == (4421, "data", MIB)


@pytest.mark.parametrize(
    ("parts", "what", "why"),
    [
        (
            (part(mib=3), PARTS[1]),
            "data-a",
            f"has {3 * MIB} bytes, and its rule says {4 * MIB}: see router disk prepare",
        ),
        ((part(read_only=True), PARTS[1]), "data-a", "is write-protected, which cannot be kept up as blocks"),
        ((*PARTS, part(block="sda3")), "data-a", "is on it more than once"),
    ],
)
def test_a_part_that_is_not_as_its_rule_says_is_refused_and_the_others_are_exported(
    parts: tuple[Part, ...], what: str, why: str
) -> None:
    found = planned(unit(*parts))
    assert ways(found) == [(B, 4422, "data-b", "sda2")]
    assert found.refused == {f"1-1 46f4:0001 part {what}": why} and found.missing == {}


def test_what_is_missing_on_a_disk_is_said_with_the_command_that_makes_it() -> None:
    found = planned(unit(PARTS[0]))
    assert ways(found) == [(A, 4421, "data-a", "sda1")]
    assert found.missing == {"1-1 46f4:0001": "has no partition data-b: router disk prepare makes it"}
    assert planned(unit()).missing == {"1-1 46f4:0001": "has no partition data-a, data-b: router disk prepare makes it"}


def test_of_two_disks_that_fit_neither_is_guessed_and_one_in_use_stays() -> None:
    first, second = device(), device("1-2", "B2")
    units = {"1-1": [unit(*PARTS)], "1-2": [unit(part(block="sdb1"), block="sdb")]}
    found = plan([first, second], units, parse_policy(POLICY))
    assert ways(found) == [(B, 4422, "data-b", "sda2")]
    assert found.refused["1-1 46f4:0001 part data-a"].startswith("is also on 1-2; unplug one, or write path or serial")
    assert found.refused["1-2 46f4:0001 part data-a"].startswith("is also on 1-1; ")

    def in_use(one: Wanted) -> bool:
        return one.disk.block == "sdb1"

    found = plan([first, second], units, parse_policy(POLICY), in_use)
    assert ways(found) == [(A, 4421, "data-a", "sdb1"), (B, 4422, "data-b", "sda2")]
    assert "the name data-a is taken by 1-2" in found.refused["1-1 46f4:0001 part data-a"]


def test_parts_on_two_disks_that_fit_are_found_on_both() -> None:
    units = {"1-1": [unit(PARTS[0])], "1-2": [unit(part("data-b", "sdb1", 2), block="sdb")]}
    found = plan([device(), device("1-2", "B2")], units, parse_policy(POLICY))
    assert ways(found) == [(A, 4421, "data-a", "sda1"), (B, 4422, "data-b", "sdb1")]
    assert (found.refused, found.missing) == ({}, {})


def test_what_is_no_disk_or_cannot_be_written_gives_no_parts() -> None:
    keyboard = device(interface=(3, 1, 1))
    policy = POLICY.replace("class mass-storage", "path 1-1")
    assert planned(of=keyboard, policy=policy).refused == {"1-1 46f4:0001": "is not a disk; write as: usb for it"}
    found = planned(unit(*PARTS, read_only=True))
    assert found.wanted == [] and "write-protected" in found.refused["1-1 46f4:0001"]
    both = POLICY + "allow 10.77.0.5 class mass-storage blocks 4423\n"
    found = planned(unit(*PARTS), policy=both)
    assert found.wanted == [] and "as a whole and parts of it" in found.refused["1-1 46f4:0001"]


def test_a_part_and_its_whole_or_itself_overlap_and_two_parts_do_not() -> None:
    one, two = (Disk(device(), 0, each.block, each.sectors, "", each.name, each.start, "sda") for each in PARTS)
    whole, other = Disk(device(), 0, "sda", 9), Disk(device(), 0, "sdb", 9)
    assert one.overlaps(whole) and whole.overlaps(two) and one.overlaps(one) and whole.overlaps(whole)
    assert not one.overlaps(two) and not one.overlaps(other) and not whole.overlaps(other)


def test_identifiers_follow_from_the_part_and_give_the_client_its_name() -> None:
    def identifiers(found: Part) -> tuple[str, str]:
        disk = Disk(device(), 0, found.block, found.sectors, "", found.name, found.start, "sda")
        digest = disk.digest()
        assert name_in(nguid_of(digest, place_of(disk, found.name)), ("data-a", "data-b", "x")) == found.name
        return uuid_of(digest), nguid_of(digest, place_of(disk, found.name))

    same = identifiers(part())
    assert identifiers(part(block="sdb4")) == same, "the kernel's name for it is not its own"
    others = [identifiers(one) for one in (part(start=4096), part(mib=5), part("data-b"))]
    assert len({same, *others}) == 4


def test_the_kernels_partitions_are_read_with_their_names(tmp_path: Path) -> None:
    one = device()
    one.path = str(tmp_path / "devices/usb1/1-1")
    real = tmp_path / "devices/usb1/1-1/1-1:1.0/host0/target/0:0:0:0"
    for name, lines, start in (("sda1", "PARTN=1\nPARTNAME=data-a\n", 2048), ("sda2", "PARTN=2\n", 10240)):
        folder = real / "block/sda" / name
        folder.mkdir(parents=True)
        for attribute, text in (("partition", name[-1]), ("size", "8192"), ("start", str(start)), ("ro", "0")):
            (folder / attribute).write_text(f"{text}\n")
        (folder / "uevent").write_text(f"MAJOR=8\nDEVNAME={name}\nDEVTYPE=partition\n{lines}")
    (real / "block/sda/queue").mkdir()
    (real / "type").write_text("0\n")
    (real / "block/sda/size").write_text("32768\n")
    (tmp_path / "bus/scsi/devices").mkdir(parents=True)
    (tmp_path / "bus/scsi/devices/0:0:0:0").symlink_to(real)
    (real / "wwid").write_text("naa.5000c500a1b2c3d4\n")
    (found,) = read_units(Sysfs(str(tmp_path)), one, parts=True)
    assert found.wwid == "naa.5000c500a1b2c3d4"
    (only,) = found.parts
    assert (only.name, only.block, only.start, only.sectors, only.read_only) == ("data-a", "sda1", 2048, 8192, False)
    assert read_units(Sysfs(str(tmp_path)), one)[0].parts == ()


def test_another_disk_of_the_same_size_in_a_dock_is_another_one_where_it_says_who_it_is() -> None:
    def identifiers(wwid: str) -> tuple[str, str, str]:
        inside = Unit(0, TYPE_DISK, "sda", 1 << 20, False, "7", PARTS, wwid)
        part_a, part_b = planned(inside).wanted
        whole = planned(inside, policy=f"allow {A} class mass-storage blocks 4421\n").wanted[0]
        return part_a.namespace(1).uuid, part_b.namespace(1).uuid, whole.namespace(1).uuid

    first, second, silent = (identifiers(wwid) for wwid in ("naa.5000c500a1b2c3d4", "naa.5000c500a1b2c3d5", ""))
    assert len({*first, *second, *silent}) == 9 and identifiers("") == silent


def test_a_disk_whose_table_the_kernel_has_not_read_yet_is_not_called_unprepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(disks, "find_devices", lambda sysfs, known, late: {"1-1": device()})
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(disks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    there: list[Part] = []
    monkeypatch.setattr(disks, "read_units", lambda sysfs, one, parts: [unit(*there)])
    given: dict[int, list[str]] = {}
    target = SimpleNamespace(
        address="10.77.0.2",
        prepare=lambda tcp: None,
        namespaces=lambda tcp: [],
        ports=lambda: [4421, 4422],
        listens=lambda tcp: True,
        add=lambda tcp, namespace: given.setdefault(tcp, []).append(namespace.path),
    )
    server = DiskServer(Sysfs(str(tmp_path)), target, parse_policy(POLICY), Lanes(target))  # type: ignore[arg-type]
    server.start()
    server.look()
    assert "no disk" not in capsys.readouterr().out and given == {}
    there.append(PARTS[0])
    server.look()
    assert given == {4421: ["/dev/sda1"]}
    clock.now += disks.SETTLE_S
    server.look()
    assert "no disk: 1-1 46f4:0001: has no partition data-b: router disk prepare" in capsys.readouterr().out


def test_how_long_a_guest_waits_for_its_server_is_told_it_and_then_its_kernel() -> None:
    assert parse_disks(render_disks([("10.77.0.2", 4421)], ["data"], 30), "disks").wait_s == 30
    assert parse_disks(render_disks([("10.77.0.2", 4421)], ["data"]), "disks").wait_s == 0
    assert "ctrl_loss_tmo=30" in Target("10.77.0.2", 4421).options(30).split(",")
    for wrong in ("wait", "wait 0", "wait 86401", "wait -1", "wait 1.5"):
        with pytest.raises(DescriptionError, match="is not understood"):
            parse_disks(wrong, "disks")


def test_the_disks_of_two_servers_at_one_port_are_not_taken_for_one_subsystem() -> None:
    first, second = Target("10.77.0.2", 4421), Target("10.77.0.3", 4421)
    assert first.subsystem != second.subsystem
    assert f"nqn={second.subsystem}" in second.options(30).split(",")
    assert Nvmet("10.77.0.3")._subsystem(4421) == second.subsystem
