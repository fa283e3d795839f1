# SPDX-License-Identifier: BSD-2-Clause
"""The SD card image, judged by fsck, mtools and mkimage's reader."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from router.deploy import fat
from router.deploy.plan import payload
from router.deploy.sdcard import PARTITION_START, boot_commands, card_names, script_image, write_card
from router.errors import DescriptionError
from tests.deploy.lab import with_room_for_seeds, write_build


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_the_partition_is_sound_and_holds_the_files(build: Path, tmp_path: Path) -> None:
    plan = write_build(build)
    card = tmp_path / "card.img"
    size = write_card(plan, build, card)
    assert card.stat().st_size == size
    volume = tmp_path / "volume"
    volume.write_bytes(card.read_bytes()[PARTITION_START:])
    checked = tool("fsck.vfat", "-n", "-v", str(volume))
    assert checked.returncode == 0, checked.stdout
    listed = tool("mdir", "-b", "-i", str(volume), "::")
    assert listed.stdout.split() == ["::/boot.scr", "::/loader.img"]
    tool("mcopy", "-i", str(volume), "::loader.img", str(tmp_path / "got"))
    assert (tmp_path / "got").read_bytes() == (build / "loader.img").read_bytes()


def test_the_partition_table_names_the_partition(build: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.img"
    size = write_card(write_build(build), build, card)
    record = card.read_bytes()[:512]
    kind, first, sectors = record[450], *struct.unpack_from("<II", record, 454)
    assert (kind, first * 512, (first + sectors) * 512) == (0x0E, PARTITION_START, size)
    assert record[510:] == b"\x55\xaa"


def test_the_boot_script_is_one_that_mkimage_knows(build: Path, tmp_path: Path) -> None:
    plan = write_build(build, prepare=("setenv bootargs quiet",))
    script = tmp_path / "boot.scr"
    script.write_bytes(script_image(boot_commands(plan)))
    listed = tool("mkimage", "-l", str(script))
    assert listed.returncode == 0
    assert "AArch64 Linux Script (uncompressed)" in listed.stdout
    assert "setenv bootargs quiet && go 0x50000000" in boot_commands(plan)


def test_a_boot_loader_goes_where_the_boot_rom_looks(build: Path, tmp_path: Path) -> None:
    loader, card = tmp_path / "imx-boot", tmp_path / "card.img"
    loader.write_bytes(b"BOOT" * 1000)
    write_card(write_build(build), build, card, loader)
    assert card.read_bytes()[33 << 10 :].startswith(b"BOOT" * 1000)
    loader.write_bytes(bytes(9 << 20))
    with pytest.raises(DescriptionError, match="reach into the partition"):
        write_card(write_build(build), build, card, loader)
    assert not list(tmp_path.glob(".card*"))


def test_the_image_is_the_same_every_time(build: Path, tmp_path: Path) -> None:
    plan = write_build(build)
    for name in ("a", "b"):
        write_card(plan, build, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_writing_a_card_says_what_guests_that_start_from_it_do_without(
    build: Path, tmp_path: Path, says: Callable[..., str]
) -> None:
    image = with_room_for_seeds(build)
    write_build(build)
    said = says("image", str(build), "--sdcard", str(tmp_path / "card.img"))
    assert "guests that start from it get no random seeds" in said
    # The room is left as it was built: a constant would be credited as randomness.
    assert image in (tmp_path / "card.img").read_bytes()


def test_long_names_get_short_ones_on_the_card(build: Path) -> None:
    (build / "long name.image").write_bytes(b"x")
    files = (payload(build, "loader.img", 0x50000000), payload(build, "long name.image", 0x60000000))
    assert card_names(write_build(build, payloads=files)) == {
        "loader.img": "loader.img",
        "long name.image": "load1.img",
    }


@pytest.mark.parametrize("size", [0, 1, 40 << 20, 300 << 20, 1900 << 20])
def test_a_volume_of_any_size_is_fat16(size: int) -> None:
    shape = fat.layout([size])
    assert fat.MIN_CLUSTERS <= shape.clusters <= fat.MAX_CLUSTERS
    assert shape.fat_sectors * 512 >= (shape.clusters + 2) * 2
    assert shape.clusters * shape.cluster_sectors * 512 >= size


def test_a_system_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DescriptionError, match="do not fit an SD card's boot partition"):
        fat.layout([3 << 30])
