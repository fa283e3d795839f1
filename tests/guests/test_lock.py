# SPDX-License-Identifier: BSD-2-Clause
"""Lock files: what they hold, and what is said when they do not fit."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from router.description.guest_image import load_definition
from router.errors import DescriptionError
from router.guests.apt import Package
from router.guests.lock import Locked, default_lock, enforce_lock, lock_differences, read_lock, render_lock
from router.guests.resolution import Resolution

KERNEL = Package("linux-image-6.1.0-1-arm64", "6.1.1-1", "arm64", "a" * 64, 100, "linux-signed-arm64")
LIBC = Package("libc6", "2.36-9+deb12u1", "arm64", "b" * 64, 200, "glibc")
BUSYBOX = Package("busybox-static", "1:1.35.0-4", "arm64", "c" * 64, 300, "busybox")
RESOLUTION = Resolution((KERNEL,), (BUSYBOX, LIBC))


def write(path: Path, *roots: str, name: str = "usb-server") -> Path:
    path.write_text(render_lock({name: Locked(roots, RESOLUTION)}))
    return path


def test_a_lock_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = write(tmp_path / "packages.lock", "busybox-static")
    assert read_lock(path) == {"usb-server": Locked(("busybox-static",), RESOLUTION)}


def test_the_text_is_the_same_whatever_the_order_of_the_packages() -> None:
    shuffled = Resolution((KERNEL,), (LIBC, BUSYBOX))
    assert render_lock({"a": Locked((), RESOLUTION)}) == render_lock({"a": Locked((), shuffled)})


def test_an_enforced_lock_gives_the_packages_it_recorded(tmp_path: Path) -> None:
    definition = load_definition("usb-server")
    path = write(tmp_path / "packages.lock", *definition.image.packages)
    assert enforce_lock(path, definition) == RESOLUTION


def test_a_lock_for_another_package_list_says_what_changed_and_how_to_go_on(tmp_path: Path) -> None:
    definition = load_definition("usb-server")
    others = [name for name in definition.image.packages if name != "python3-minimal"]
    path = write(tmp_path / "packages.lock", *others, "python3-full")
    with pytest.raises(DescriptionError) as caught:
        enforce_lock(path, definition)
    assert caught.value.message == (
        "the packages of 'usb-server' have changed since the lock was recorded: +python3-minimal -python3-full"
    )
    assert caught.value.hint == "record it anew with `router lock`, or remove packages.lock"


def test_a_lock_without_the_image_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "packages.lock", name="other")
    with pytest.raises(DescriptionError, match="does not cover the guest image 'usb-server'"):
        enforce_lock(path, load_definition("usb-server"))


@pytest.mark.parametrize("line", ["userland libc6 1", "kernel a b c d e f", "rubbish"])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "packages.lock")
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DescriptionError) as caught:
        read_lock(path)
    assert caught.value.where == f"{path}:{len(path.read_text().splitlines())}"


@pytest.mark.parametrize(
    "words",
    [
        f"-oDir::Bin::methods /tmp/evil arm64 {'0' * 64} 1 a",
        f"a -oDir::Bin::methods=/tmp/evil arm64 {'0' * 64} 1 a",
        "a 1 arm64 ../../../../tmp/evil 1 a",
        f"a 1 arm64 {'0' * 64} {'9' * 5000} a",
        f"a/../b 1 arm64 {'0' * 64} 1 a",
    ],
)
def test_no_word_of_a_foreign_lock_is_an_option_of_apt_or_a_path(tmp_path: Path, words: str) -> None:
    path = write(tmp_path / "packages.lock")
    path.write_text(f"{path.read_text()}userland {words}\n")
    with pytest.raises(DescriptionError, match="not a line of a lock file"):
        read_lock(path)


def test_a_lock_that_is_no_text_or_no_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "packages.lock"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DescriptionError, match="not UTF-8 text"):
        read_lock(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DescriptionError, match="a device or a pipe"):
        read_lock(path)


def test_a_package_line_before_any_image_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "packages.lock"
    path.write_text(f"kernel a 1 arm64 {'0' * 64} 1 a\n")
    with pytest.raises(DescriptionError):
        read_lock(path)


def test_differences_name_each_package_with_both_versions() -> None:
    newer = replace(LIBC, version="2.36-9+deb12u2", sha256="d" * 64)
    other = replace(BUSYBOX, sha256="e" * 64)
    extra = replace(LIBC, name="zlib1g", version="1")
    assert lock_differences(RESOLUTION, Resolution((), (newer, other, extra))) == [
        "-linux-image-6.1.0-1-arm64 6.1.1-1",
        "+zlib1g 1",
        "busybox-static 1:1.35.0-4: another file of the same version",
        "libc6 2.36-9+deb12u1 → 2.36-9+deb12u2",
    ]
    assert lock_differences(RESOLUTION, RESOLUTION) == []


def test_a_lock_beside_the_definitions_is_the_default(tmp_path: Path) -> None:
    assert default_lock(tmp_path) is None
    path = write(tmp_path / "packages.lock")
    assert default_lock(tmp_path) == path
