# SPDX-License-Identifier: BSD-2-Clause
"""What a client says of a disk that should not go without a question."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.usbip.client.uses import MAX_USES, Storage
from router.usbip.runtime import proc
from router.usbip.runtime.sysfs import Sysfs

SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sdb2 partition\t1000\t0\t-2\n"


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    """1-1 has the disk sda (with sda1, sda2, the second under dm-0), 1-2 has sdb."""
    blocks = tmp_path / "class/block"
    blocks.mkdir(parents=True)
    for local, disk, names in (("1-1", "sda", ("sda", "sda1", "sda2")), ("1-2", "sdb", ("sdb", "sdb2"))):
        for number, name in enumerate(names):
            real = tmp_path / f"devices/platform/vhci_hcd.0/usb1/{local}/{local}:1.0/host0/block/{disk}/{name}"
            (real / "holders").mkdir(parents=True)
            (real / "dev").write_text(f"{8 if disk == 'sda' else 9}:{number}\n")
            (blocks / name).symlink_to(real)
    mapped = tmp_path / "devices/virtual/block/dm-0"
    (mapped / "dm").mkdir(parents=True)
    (mapped / "dm/name").write_text("secret\n")
    (mapped / "dev").write_text("254:0\n")
    (blocks / "dm-0").symlink_to(mapped)
    (blocks / "sda2/holders/dm-0").symlink_to(mapped)
    return Sysfs(str(tmp_path))


def uses(sysfs: Sysfs, local: str, mountinfo: str, swaps: str) -> list[str]:
    return Storage(sysfs, mountinfo, swaps).uses(local)


def mount(numbers: str, place: str, source: str) -> str:
    return f"30 1 {numbers} / {place} rw,relatime shared:1 - ext4 {source} rw\n"


def test_mounts_are_found_by_number_and_by_source_and_their_places_are_readable(sysfs: Sysfs) -> None:
    found = uses(sysfs, "1-1", mount("8:1", "/mnt/my\\040disk", "/dev/root") + mount("0:40", "/b", "/dev/sda"), SWAPS)
    assert found == ["sda on /b", "sda1 on /mnt/my disk", "sda2 by secret"]


def test_inits_mounts_count_and_not_those_that_a_process_in_a_chroot_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proc, "PROC", str(tmp_path))
    for process, text in (("1", mount("8:1", "/", "/dev/sda1")), ("self", mount("0:20", "/sys", "sys"))):
        (tmp_path / process).mkdir()
        (tmp_path / process / "mountinfo").write_text(text)
    kept = proc.InitsMounts()
    assert kept.read() == mount("8:1", "/", "/dev/sda1")
    (tmp_path / "1/mountinfo").write_text(mount("8:1", "/elsewhere", "/dev/sda1") * 9999)
    assert len(proc.mounts(kept.read())) == 9999, "each read tells what is mounted then, all of it"
    kept.close()
    (tmp_path / "1/mountinfo").unlink()
    assert proc.InitsMounts().read() == mount("0:20", "/sys", "sys")


def test_what_lies_on_a_mapped_device_counts_as_use_of_the_disk_below_it(sysfs: Sysfs) -> None:
    assert uses(sysfs, "1-1", mount("254:0", "/safe", "/dev/mapper/secret"), "") == ["sda2 by secret", "dm-0 on /safe"]


def test_swap_is_a_use_and_another_devices_mounts_are_not(sysfs: Sysfs) -> None:
    assert uses(sysfs, "1-2", mount("8:1", "/mnt", "/dev/sda1"), SWAPS) == ["sdb2 as swap"]


def test_a_device_without_disks_has_no_uses(sysfs: Sysfs) -> None:
    assert uses(sysfs, "1-3", mount("8:1", "/mnt", "/dev/sda1"), SWAPS) == []


def test_the_list_has_an_end(sysfs: Sysfs) -> None:
    many = "".join(mount("8:1", f"/mnt/{n}" + "x" * 999, "/dev/sda1") for n in range(99))
    found = uses(sysfs, "1-1", many, "")
    assert len(found) == MAX_USES
    assert max(map(len, found)) < 300


def test_a_machine_with_more_block_devices_than_are_looked_at_has_every_device_in_use(
    sysfs: Sysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router.usbip.client.uses.MAX_BLOCK_DEVICES", 4)
    assert uses(sysfs, "1-2", "", "") == ["one of 2 block devices too many to look at"]
    monkeypatch.setattr("router.usbip.client.uses.MAX_BLOCK_DEVICES", 6)
    assert uses(sysfs, "1-2", "", "") == []
