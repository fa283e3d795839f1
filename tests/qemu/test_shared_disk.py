# SPDX-License-Identifier: BSD-2-Clause
"""The shipped shared-disk.yaml: one disk, and a part of it for each of two guests, as disks of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from router import files
from router.cli import main
from router.testing import Router, Setup
from tests.support.end_to_end import BOOT, MiB
from tests.support.systems import SHIPPED

Says = Callable[..., str]
DISK_A, DISK_B = "/dev/disk/by-router/data-a", "/dev/disk/by-router/data-b"
PLACES = {"data-a": MiB, "data-b": 2049 * MiB}
PART = 2048 * MiB


@pytest.fixture(scope="session")
def router_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """USB port 1 has a sparse image that `router disk prepare` has prepared."""
    folder = tmp_path_factory.mktemp("shared")
    disk = folder / "disk.img"
    disk.touch()
    os.truncate(disk, 5 << 30)
    assert main(["disk", "prepare", str(SHIPPED / "shared-disk.yaml"), str(disk)]) == 0
    usb = (f"storage:{disk}",)
    description = SHIPPED / "shared-disk.yaml"
    return Setup(description=description, on="split", usb=usb, boot_timeout=BOOT, build=folder / "build")


@pytest.fixture
def image(router_setup: Setup) -> Path:
    return Path(router_setup.usb[0].removeprefix("storage:"))


def at(image: Path, name: str, size: int) -> bytes:
    with image.open("rb") as disk:
        disk.seek(PLACES[name])
        return disk.read(size)


def test_each_guest_has_its_part_by_name_and_no_other(router: Router) -> None:
    for guest, mine in (("a", DISK_A), ("b", DISK_B)):
        one = router.guest(guest)
        one.wait_for(f"[ -b {mine} ]")
        assert one.run(f"blockdev --getsize64 {mine}").stdout == f"{PART}\n"
        assert one.run("ls /dev/disk/by-router").stdout.split() == [mine.rpartition("/")[2]]
        # Nothing else of the disk is there under any name: not its table, not the other part.
        blocks = one.run("cat /proc/partitions").stdout.split()
        assert [word for word in blocks if word.startswith(("sd", "nvme"))] == ["nvme0n1"]


def test_what_a_guest_writes_to_either_end_of_its_part_stays_within_it(router: Router, image: Path) -> None:
    for guest, name, disk in (("a", "data-a", DISK_A), ("b", "data-b", DISK_B)):
        one = router.guest(guest)
        one.wait_for(f"[ -b {disk} ]")
        one.run("head -c 65536 /dev/urandom >/tmp/new")
        for place in (0, PART // 65536 - 1):
            one.run(f"dd if=/tmp/new of={disk} bs=64k seek={place} conv=fsync,notrunc")
        wanted = one.run("sha256sum </tmp/new").stdout.split()[0]
        assert files.sha256_of(at(image, name, 65536)) == wanted
        # The first sector behind it is not the guest's.
        refused = one.run(
            f"dd if=/tmp/new of={disk} bs=64k seek={PART // 65536} count=1 conv=fsync,notrunc", check=False
        )
        assert refused.code != 0


def test_the_list_shows_who_has_which_part(router: Router, says: Says) -> None:
    router.guest("a").wait_for(f"[ -b {DISK_A} ]")
    router.guest("b").wait_for(f"[ -b {DISK_B} ]")
    (row,) = json.loads(says("usb", "list", "--json"))
    assert row["road"] == "block" and row["granted"] == ["a", "b"]
    assert row["parts"] == [
        {"holder": "a", "to": "a", "disk": "data-a"},
        {"holder": "b", "to": "b", "disk": "data-b"},
    ]
    assert "a, as blocks: data-a; b, as blocks: data-b" in says("usb", "list")


def test_the_image_is_left_alone_while_the_system_has_it(
    router: Router, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["disk", "prepare", str(SHIPPED / "shared-disk.yaml"), str(image), "--erase"]) == 3
    assert "another program has the image, such as QEMU" in capsys.readouterr().err


@pytest.mark.last
def test_a_disk_that_is_not_prepared_is_said_by_the_server_and_given_to_nobody(router: Router, tmp_path: Path) -> None:
    other = tmp_path / "other.img"
    other.write_bytes(bytes(4 * MiB))
    since = router.next_event
    with router.connect() as connection:
        connection.unplug(1)
    router.wait_for_event("disk-news", "a", detail="data-a has gone", since=since)
    router.wait_for_event("disk-news", "b", detail="data-b has gone", since=since)
    with router.connect() as connection:
        connection.plug(f"storage:{other}")
    router.guest("server").wait_for(
        "dmesg | grep -q 'no disk: .* has no partition data-a, data-b: router disk prepare'"
    )
    assert router.guest("a").run("ls /dev/disk/by-router").stdout == ""
