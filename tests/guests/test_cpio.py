# SPDX-License-Identifier: BSD-2-Clause
"""Initramfs archives and overlays."""

from __future__ import annotations

import gzip
import shutil
import stat
import subprocess

import pytest

from router.errors import DescriptionError
from router.guests.cpio import FileSpec, build_overlay, character_device, directory, regular, symlink, write_cpio


def entries(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int], int]]:
    """name -> (mode, data, device, mtime), read field by field as the kernel's unpacker does."""
    found: dict[str, tuple[int, bytes, tuple[int, int], int]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = archive[at + 110 : at + 110 + fields[11] - 1].decode()
        start = at + (110 + fields[11] + 3 & ~3)
        data = archive[start : start + fields[6]]
        if name == "TRAILER!!!":
            return found
        assert fields[2] == fields[3] == 0, "owned by root"
        found[name] = (fields[1], data, (fields[9], fields[10]), fields[5])
        at = start + (fields[6] + 3 & ~3)


def test_an_archive_holds_files_links_folders_and_devices_as_given() -> None:
    found = entries(
        write_cpio(
            {
                "/init": regular(b"#!/bin/sh\n", 0o755),
                "bin/sh": symlink("busybox"),
                "tmp": directory(0o1777),
                "dev/console": character_device(5, 1),
                "plain": b"text",
            }
        )
    )
    assert found["init"][:2] == (stat.S_IFREG | 0o755, b"#!/bin/sh\n")
    assert found["bin/sh"][:2] == (stat.S_IFLNK | 0o777, b"busybox")
    assert found["tmp"][0] == stat.S_IFDIR | 0o1777
    assert found["dev/console"][0] == stat.S_IFCHR | 0o600
    assert found["dev/console"][2] == (5, 1)
    assert found["plain"][:2] == (stat.S_IFREG | 0o644, b"text")


def test_parents_come_before_their_children_and_exist_even_when_unnamed() -> None:
    names = list(entries(write_cpio({"a/b/c": b"", "a.txt": b""})))
    assert names.index("a") < names.index("a/b") < names.index("a/b/c")


def test_the_same_files_in_any_order_give_the_same_bytes_without_time_stamps() -> None:
    files: dict[str, bytes | FileSpec] = {"b": b"2", "a": b"1", "c/d": regular(b"3", 0o755)}
    forwards, backwards = write_cpio(files), write_cpio(dict(reversed(files.items())))
    assert forwards == backwards
    assert {entry[3] for entry in entries(forwards).values()} == {0}
    assert build_overlay(files) == build_overlay(files)


def test_an_overlay_is_a_gzip_archive_that_leaves_the_next_one_aligned() -> None:
    for size in range(8):
        overlay = build_overlay({"etc/router/guest.conf": b"x" * size})
        assert len(overlay) % 4 == 0
        assert entries(gzip.decompress(overlay))["etc/router/guest.conf"][1] == b"x" * size


def test_permission_bits_alone_mean_a_regular_file() -> None:
    assert FileSpec(b"", 0o600).mode == stat.S_IFREG | 0o600


@pytest.mark.parametrize("path", ["", "/", "../etc/passwd", "a/../../b", "a\0b", "x" * 5000])
def test_a_path_that_the_kernel_could_not_unpack_is_refused(path: str) -> None:
    with pytest.raises(DescriptionError, match="cannot be a path"):
        write_cpio({path: b""})


def test_cpio_itself_reads_the_archive() -> None:
    tool = shutil.which("cpio")
    if tool is None:
        pytest.skip("cpio is not installed")
    archive = write_cpio({"etc/hosts": b"127.0.0.1", "bin/sh": symlink("busybox")})
    listing = subprocess.run([tool, "-t", "--quiet"], input=archive, capture_output=True, check=True)
    assert listing.stdout.decode().split() == ["bin", "bin/sh", "etc", "etc/hosts"]
