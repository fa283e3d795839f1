# SPDX-License-Identifier: BSD-2-Clause
"""`router disk prepare` on tables that are damaged, foreign or crafted: nothing is lost unasked, or reaches others."""

from __future__ import annotations

import os
import struct
import subprocess
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from router.disk.layout import ENTRIES, Wanted, type_of
from router.requirements import look_for
from tests.disk.images import MIB, TEXT, Says, content, needs_tools, partition, put, table

pytestmark = needs_tools

SIZE = 16 * MIB
HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
"""A GPT's header (UEFI 2.10, 5.3.2)."""
PHOTOS = b"photos" * 1000
FOREIGN = "label: gpt\nstart=4096, size=20000, name=photos\n"
ONLY_A = TEXT[: TEXT.index("  - {name: data-b")]


def make_gpt(image: Path, sector: int, *entries: tuple[str, str, int, int], count: int = ENTRIES // 128) -> None:
    """A GPT as no tool writes it. entries: name, type, start and size in sectors. count: what there is room for."""
    table = b"".join(
        uuid.UUID(kind).bytes_le
        + uuid.uuid4().bytes_le
        + struct.pack("<QQQ", start, start + size - 1, 0)
        + name.encode("utf-16-le", "surrogatepass").ljust(72, b"\0")
        for name, kind, start, size in entries
    ).ljust(count * 128, b"\0")
    last, room, ident = SIZE // sector - 1, max(1, count * 128 // sector), uuid.uuid4().bytes_le
    for here, other, where in ((1, last, 2), (last, 1, last - room)):
        fields = (
            b"EFI PART",
            0x10000,
            HEADER.size,
            0,
            0,
            here,
            other,
            2 + room,
            last - room - 1,
            ident,
            where,
            count,
            128,
        )
        header = HEADER.pack(*fields, zlib.crc32(table))
        put(image, where * sector, table)
        put(image, here * sector, HEADER.pack(*fields[:3], zlib.crc32(header), *fields[4:], zlib.crc32(table)))
    put(image, 446, struct.pack("<4xB3xII", 0xEE, 1, last) + bytes(48) + b"\x55\xaa")


def called(guest: str) -> str:
    return Wanted(f"data-{guest}", guest, 0).part


def of_4096_byte_sectors(image: Path) -> None:
    make_gpt(image, 4096, ("photos", type_of("x"), 512, 1000))


def with_both_headers_damaged(image: Path) -> None:
    partition(image, FOREIGN)
    put(image, 512, b"damaged!")
    put(image, SIZE - 512, b"damaged!")


def cut_off(image: Path) -> None:
    os.truncate(image, 2 * SIZE)
    partition(image, "label: gpt\nstart=4096, size=50000, name=photos\n")
    os.truncate(image, SIZE)


def without_its_mbr(image: Path) -> None:
    partition(image, FOREIGN)
    put(image, 0, bytes(512))


def hybrid(image: Path) -> None:
    partition(image, "label: gpt\n")
    put(image, 446 + 16, struct.pack("<4xB3xII", 0x83, 4096, 20000))


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        (of_4096_byte_sectors, "a GPT that cannot be read: it is damaged"),
        (with_both_headers_damaged, "a GPT that cannot be read: it is damaged"),
        (cut_off, "a GPT that cannot be read: it is damaged"),
        (without_its_mbr, "data that no program here knows, at its beginning"),
        (hybrid, "the partition 2 of a hybrid MBR, 10000 KiB"),
    ],
)
def test_a_table_that_sfdisk_does_not_show_whole_is_not_overwritten_unasked(
    says: Says, image: Path, damage: Callable[[Path], None], lost: str
) -> None:
    damage(image)
    put(image, 2 * MIB, PHOTOS)
    before = image.read_bytes()
    code, _, error = says()
    assert code == 2 and f"this would be lost: {lost}" in error
    assert image.read_bytes() == before
    assert says("--erase")[0] == 0
    assert [one["name"] for one in table(image)] == ["data-a", "data-b"]
    assert says()[0] == 0, "nothing is left over that a second run would have to ask for"


@pytest.mark.parametrize("offset", [512, SIZE - 512])
def test_a_table_with_one_good_copy_keeps_its_partitions(says: Says, image: Path, offset: int) -> None:
    assert says()[0] == 0
    put(image, MIB, b"a's own")
    put(image, offset, b"damaged!")
    more = TEXT + "  - {name: more, to: b, on: {class: mass-storage}, size: 3 MiB}\n"
    assert says(text=more)[0] == 0
    assert [one["name"] for one in table(image)] == ["data-a", "data-b", "more"]
    assert content(image, MIB, 7) == b"a's own"


def test_partitions_on_one_another_are_kept_for_neither_guest(says: Says, image: Path) -> None:
    make_gpt(image, 512, (called("a"), type_of("a"), 2048, 8192), (called("b"), type_of("b"), 4096, 4096))
    put(image, 2 * MIB, b"a's secret")
    before = image.read_bytes()
    code, _, error = says()
    assert code == 2 and "'data-a' of 'a', 4 MiB, which has blocks in common with the partition 'data-b'" in error
    assert image.read_bytes() == before
    assert says("--erase")[0] == 0
    assert b"a's secret" not in image.read_bytes()


@pytest.mark.parametrize("start", [64, SIZE // 512 - 33 - 8192 + 1])
def test_a_partition_where_the_table_is_to_be_is_said_before_anything_is_written(
    says: Says, image: Path, start: int
) -> None:
    make_gpt(image, 512, (called("a"), type_of("a"), start, 8192), count=4)
    before = image.read_bytes()
    code, _, error = says()
    assert code == 2 and "'data-a' of 'a', 4 MiB, which is where the table is to be" in error
    assert image.read_bytes() == before
    assert says("--erase")[0] == 0


def test_what_a_guest_has_written_is_not_wiped_with_the_rest(says: Says, image: Path) -> None:
    assert says()[0] == 0
    # The mark of a VMFS volume (libblkid): 1 MiB behind a disk's beginning, where the first guest's disk begins.
    mine = bytes.fromhex("0dd001c0") + b"a's own"
    put(image, MIB, mine)
    assert says("--erase", text=ONLY_A)[0] == 0
    assert [one["name"] for one in table(image)] == ["data-a"]
    assert content(image, MIB, len(mine)) == mine


@pytest.mark.parametrize(
    "command",
    ["mkfs.vfat", "mkfs.vfat -F 32", "mkfs.ntfs -Q -F -f", "mkfs.exfat", "mke2fs -q -F", "mkswap", "sfdisk -q"],
)
def test_the_marks_of_what_was_on_the_whole_disk_go(says: Says, image: Path, command: str) -> None:
    tool, *words = command.split()
    if (found := look_for(tool)) is None:
        pytest.skip(f"{tool} is missing")
    os.truncate(image, 4 * SIZE)
    script = "label: dos\nstart=2048, size=2048\n"
    run = subprocess.run([found, *words, image], input=script, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert says()[0] == 2
    assert says("--erase")[0] == 0
    left = subprocess.run([look_for("wipefs") or "", "--no-act", image], capture_output=True, text=True, check=True)
    assert {line.split()[2] for line in left.stdout.splitlines()[1:]} == {"gpt", "PMBR"}
    assert says()[1].count("kept, with its data") == 2


@pytest.mark.parametrize("name", ['a"b', "ümläut ☃", "x" * 36, 'a\n"\\\x01\x1b[31m\x7f\ud800'])
def test_a_name_of_any_letters_is_said_and_ends_nothing(says: Says, image: Path, name: str) -> None:
    make_gpt(image, 512, (name, type_of("x"), 4096, 2048))
    code, _, error = says()
    assert code == 2 and "this would be lost: the partition '" in error and "\x1b" not in error
    assert says("--erase")[0] == 0


@pytest.mark.parametrize("size", [0, 1, 511, 512, 4096, 20000])
def test_an_image_that_is_tiny_is_too_small(says: Says, image: Path, size: int) -> None:
    os.truncate(image, size)
    code, _, error = says()
    assert code == 2 and "too small: 'data-a' needs 4 MiB" in error
    assert image.stat().st_size == size


@pytest.mark.parametrize("odd", [1, 511, 513])
def test_an_image_with_a_broken_last_sector_is_prepared(says: Says, image: Path, odd: int) -> None:
    os.truncate(image, SIZE + odd)
    assert says()[0] == 0
    assert says()[1].count("kept, with its data") == 2
