# SPDX-License-Identifier: BSD-2-Clause
"""`router disk prepare` on images: what matches keeps its data, and nothing else is lost unasked."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

import pytest

from router.disk.layout import type_of
from router.disk.opened import opened, users, zero
from router.errors import DescriptionError, HostError
from router.requirements import look_for
from tests.disk.images import MIB, TEXT, Says, content, needs_tools, partition, put, table

pytestmark = needs_tools


def test_an_empty_image_gets_a_named_partition_for_each_disk(says: Says, image: Path) -> None:
    code, out, _ = says()
    assert code == 0 and "4 MiB for 'a': new, and empty" in out
    assert [(one["name"], one["start"], one["size"], one["type"]) for one in table(image)] == [
        ("data-a", 2048, 8192, type_of("a")),
        ("data-b", 2048 + 8192, 4096, type_of("b")),
    ]
    check = subprocess.run([look_for("sfdisk") or "", "--verify", image], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr
    assert image.stat().st_blocks * 512 < MIB, "a sparse image stays sparse"


def test_a_second_run_changes_nothing_and_a_new_disk_leaves_the_others_data_alone(says: Says, image: Path) -> None:
    assert says()[0] == 0
    mine = os.urandom(4 * MIB)
    put(image, MIB, mine)
    before = image.read_bytes()
    code, out, _ = says()
    assert code == 0 and "kept, with its data" in out and "new" not in out
    assert image.read_bytes() == before
    more = TEXT + "  - {name: more, to: b, on: {class: mass-storage}, size: 3 MiB}\n"
    idents = [one["uuid"] for one in table(image)]
    assert says(text=more)[0] == 0
    assert content(image, MIB, 4 * MIB) == mine
    assert [one["name"] for one in table(image)] == ["data-a", "data-b", "more"]
    assert [one["uuid"] for one in table(image)][:2] == idents, "PARTUUID is what fstab and root: name"


def test_a_new_partition_is_zeroed_whatever_was_there(says: Says, image: Path) -> None:
    put(image, 3 * MIB, os.urandom(6 * MIB))
    assert says()[0] == 0
    assert content(image, MIB, 6 * MIB) == bytes(6 * MIB)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (("size: 4 MiB", "size: 3 MiB"), "the partition 'data-a' of 'a', 4 MiB, which is to have 3 MiB"),
        (("data-a, to: a", "data-a, to: b"), "the partition 'data-a' of 'a', 4 MiB, which is to be of 'b'"),
        (("name: data-a", "name: other"), "the partition 'data-a' of 'a', 4 MiB"),
    ],
)
def test_what_would_be_lost_is_said_and_stays_until_erase_lets_it_go(
    says: Says, image: Path, change: tuple[str, str], lost: str
) -> None:
    assert says()[0] == 0
    put(image, MIB, b"a's secret")
    put(image, 5 * MIB, b"b's own")
    before = image.read_bytes()
    changed = TEXT.replace(*change)
    code, _, error = says(text=changed)
    assert code == 2 and f"this would be lost: {lost}\n" in error and "--erase" in error
    assert image.read_bytes() == before
    code, out, _ = says("--erase", "--dry-run", text=changed)
    assert code == 0 and f"lost         {lost}\n" in out and "nothing was written" in out
    assert image.read_bytes() == before
    assert says("--erase", text=changed)[0] == 0
    assert b"a's secret" not in image.read_bytes(), "no other guest reads what one has left"
    assert content(image, 5 * MIB, 7) == b"b's own"


def test_a_file_system_or_a_foreign_table_is_not_overwritten_unasked(says: Says, image: Path) -> None:
    subprocess.run([look_for("mke2fs") or "", "-q", "-t", "ext4", "-L", "PHOTOS", image], check=True)
    before = image.read_bytes()
    code, _, error = says()
    assert code == 2 and "would be lost: what wipefs calls ext4 'PHOTOS'" in error
    assert image.read_bytes() == before
    assert says("--erase")[0] == 0
    wiped = subprocess.run([look_for("wipefs") or "", "--no-act", image], capture_output=True, text=True, check=True)
    assert "ext4" not in wiped.stdout
    partition(image, "label: dos\nstart=2048, size=2048\n")
    code, _, error = says()
    assert code == 2 and "would be lost: what wipefs calls dos" in error
    partition(image, "label: gpt\nstart=2048, size=2048, name=foreign\n")
    code, _, error = says()
    assert code == 2 and "would be lost: the partition 'foreign', 1 MiB\n" in error


@pytest.mark.parametrize(("offset", "where"), [(0, "beginning"), (16 * MIB - 4096, "end")])
def test_data_that_no_program_knows_is_not_overwritten_unasked(
    says: Says, image: Path, offset: int, where: str
) -> None:
    put(image, offset, b"raw" * 1000)
    code, _, error = says()
    assert code == 2 and f"data that no program here knows, at its {where}" in error
    assert says("--erase")[0] == 0


def test_erased_flash_counts_as_empty(says: Says, image: Path) -> None:
    image.write_bytes(b"\xff" * 16 * MIB)
    assert says()[0] == 0
    assert content(image, MIB, 6 * MIB) == bytes(6 * MIB)


def test_clear_errors_for_what_is_too_small_missing_or_no_disk(says: Says, image: Path, tmp_path: Path) -> None:
    os.truncate(image, 7 * MIB)
    code, _, error = says()
    assert code == 2 and f"{image}: error: too small: 'data-b' needs 2 MiB, and 1 MiB in one piece" in error
    code, _, error = says(disk=tmp_path / "nothing")
    assert code == 2 and "there is no such disk or image" in error and "truncate" in error
    code, _, error = says(disk=tmp_path)
    assert code == 2 and "neither a disk nor an image" in error
    code, _, error = says(text=TEXT.partition("disks:\n")[0])
    assert code == 2 and "the description has no disks" in error


def test_an_image_that_qemu_has_is_left_alone(says: Says, image: Path) -> None:
    with image.open("r+b") as file:
        # QEMU's shared locks on single bytes: block/file-posix.c, RAW_LOCK_PERM_BASE.
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0))
        code, _, error = says()
    assert code == 3 and "another program has the image, such as QEMU" in error
    assert image.read_bytes() == bytes(16 * MIB)
    assert says()[0] == 0


def test_a_table_that_did_not_arrive_is_an_error(image: Path, says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.disk.prepare.write_table", lambda *words, **more: None)
    code, _, error = says()
    assert code == 3 and "does not read as it was written" in error


def test_zeroing_counts_up_to_its_end_and_touches_nothing_around_it(image: Path) -> None:
    image.write_bytes(b"x" * 16 * MIB)
    with opened(image) as descriptor:
        steps = list(zero(descriptor, MIB, 3 * MIB))
    assert steps[-1] == 3 * MIB and steps == sorted(steps)
    assert image.read_bytes() == b"x" * MIB + bytes(3 * MIB) + b"x" * 12 * MIB


def test_a_partition_of_this_computers_disk_is_refused_with_its_whole_disk(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = sorted(Path("/sys/class/block").glob("*/partition"))
    if not parts or not Path("/dev", parts[0].parent.name).exists():
        pytest.skip("this computer has no partition")
    device = Path("/dev", parts[0].parent.name)
    with pytest.raises(DescriptionError, match="is a partition"), opened(device):
        pass


@pytest.mark.skipif(os.geteuid() != 0 or not look_for("losetup"), reason="loop devices need root")
def test_a_device_is_prepared_and_one_that_is_held_is_left_alone(says: Says, image: Path) -> None:
    run = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(f"no loop device: {run.stderr.strip()}")
    loop = Path(run.stdout.strip())
    try:
        code, _, error = says()
        assert code == 3 and f"the image is the disk {loop.name}" in error and f"losetup -d {loop}" in error
        subprocess.run([look_for("mke2fs") or "", "-q", "-F", loop], check=True)
        code, _, error = says(disk=loop)
        assert code == 2 and "what wipefs calls ext2" in error
        assert says("--erase", disk=loop)[0] == 0
        assert [one["name"] for one in table(loop)] == ["data-a", "data-b"]
        descriptor = os.open(loop, os.O_RDWR | os.O_EXCL)
        try:
            code, _, error = says(disk=loop)
        finally:
            os.close(descriptor)
        assert code == 3 and "the disk is in use: another program has opened it for itself" in error
        assert users(loop)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


def test_a_disk_that_cannot_be_opened_is_an_error_of_this_computer(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("router.disk.opened.os.open", refuse)
    with pytest.raises(HostError) as caught, opened(image):
        pass
    assert caught.value.message == "cannot open it: Permission denied" and caught.value.hint
