# SPDX-License-Identifier: BSD-2-Clause
"""What is exported of the disks that are there, and how a client knows which disk it is."""

from __future__ import annotations

import pytest

from router.usbip.policy.file import parse_policy
from router.usbip.protocol.device import Device
from router.usbip.protocol.disks import MAX_LUNS, Disk, disk_name, name_in, nguid_of, place_of, uuid_of, valid_disk_name
from router.usbip.server.disk_plan import plan
from router.usbip.server.disk_units import TYPE_OPTICAL, Unit
from tests.usbip.disk_samples import KEYBOARD, device, planned, unit


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
