# SPDX-License-Identifier: BSD-2-Clause
"""Whole images from this machine's package sources."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from router import files
from router.description.guest_image import load_definition
from router.errors import DescriptionError, HostError
from router.guests.image import GuestImage, build_image, kernel_dtbs
from router.guests.lock import Locked, record_lock
from router.guests.python import OPTIMISED, compiler_for, interpreter_for
from router.guests.resolution import Packages
from router.guests.sources import machine_sources
from router.linux_boot import read_kernel_header

pytestmark = pytest.mark.packages
Build = Callable[[str], GuestImage]


@pytest.fixture(scope="module")
def recorded(guest_image: Build, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Locked]]:
    """A lock of what the package sources have now."""
    guest_image("usb-server")
    path = tmp_path_factory.mktemp("lock") / "packages.lock"
    return path, record_lock(path)


def unpacked_names(image: GuestImage) -> set[str]:
    return set(json.loads(image.manifest.read_bytes())["files"])


def test_the_kernel_is_a_plain_arm64_image(guest_image: Build) -> None:
    image = guest_image("usb-server")
    header = read_kernel_header(image.kernel.read_bytes(), image.kernel_size)
    assert header.image_size >= image.kernel_size
    assert image.kernel_version.endswith("-arm64")


def test_the_server_fits_in_seven_megabytes(guest_image: Build) -> None:
    image = guest_image("usb-server")
    assert image.initramfs_size == image.initramfs.stat().st_size
    assert image.initramfs_size <= 7_000_000


@pytest.mark.parametrize("name", ["usb-server", "usb-client"])
def test_the_recorded_boot_sizes_are_those_of_the_built_image(guest_image: Build, name: str) -> None:
    """`router check` computes the least memory from them; a kernel of another release may be some MiB larger."""
    image, recorded = guest_image(name), load_definition(name).image.boot_sizes
    assert recorded is not None
    header = read_kernel_header(image.kernel.read_bytes(), image.kernel_size)
    assert abs((recorded.kernel << 20) - header.memory) <= (1 << 20 if "6.1.0" in image.kernel_version else 16 << 20)
    assert abs((recorded.initramfs << 20) - image.initramfs_size) <= 1 << 20


def test_an_image_holds_only_the_modules_it_asked_for_and_their_dependencies(guest_image: Build) -> None:
    image = guest_image("usb-server")
    assert {"usbip_host", "xhci_hcd", "usbcore", "virtio_net", "dwc3"} <= set(image.modules)
    assert not {"vhci_hcd", "btrfs", "drm", "usb_storage"} & set(image.modules)
    assert len([name for name in unpacked_names(image) if name.endswith(".ko")]) == len(image.modules)


def test_the_boards_device_trees_come_with_the_kernel(guest_image: Build) -> None:
    guest_image("usb-server")
    trees = list((kernel_dtbs() / "freescale").glob("imx8mq-*.dtb"))
    assert len(trees) >= 10
    assert all(tree.read_bytes()[:4] == b"\xd0\x0d\xfe\xed" for tree in trees)


def test_a_warm_build_runs_no_program_at_all(guest_image: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    image = guest_image("usb-server")
    sources = machine_sources()

    def refuse(*words: object, **options: object) -> None:
        raise AssertionError(f"a warm build runs {words}")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert build_image("usb-server", sources=sources) == image


def test_building_again_elsewhere_gives_the_same_bytes(guest_image: Build, tmp_path: Path) -> None:
    image = guest_image("usb-server")
    for shared in ("apt", "debs", "resolutions"):
        (tmp_path / shared).symlink_to(files.cache_folder() / shared)
    again = build_image("usb-server", cache=tmp_path)
    assert again.initramfs.read_bytes() == image.initramfs.read_bytes()
    assert again.kernel_sha256 == image.kernel_sha256
    assert again.sbom.read_bytes() == image.sbom.read_bytes()


def test_a_damaged_cache_is_noticed_and_made_good(guest_image: Build, tmp_path: Path) -> None:
    guest_image("usb-server")
    for shared in ("apt", "debs", "resolutions", "kernels", "layers"):
        (tmp_path / shared).symlink_to(files.cache_folder() / shared)
    image = build_image("usb-server", cache=tmp_path)
    image.initramfs.write_bytes(b"damaged" + image.initramfs.read_bytes()[7:])
    mended = build_image("usb-server", cache=tmp_path)
    assert files.sha256(mended.initramfs) == mended.initramfs_sha256 == image.initramfs_sha256


def test_the_manifest_and_the_sbom_agree_about_the_packages(guest_image: Build) -> None:
    image = guest_image("usb-server")
    used = {entry["package"] for entry in json.loads(image.manifest.read_bytes())["files"].values()} - {None}
    document = json.loads(image.sbom.read_bytes())
    named = {package["name"] for package in document["packages"]}
    assert {"busybox-static", "libc6"} <= used <= named
    assert any(name.startswith("linux-image-") for name in named)
    versions = {package.name: package.version for package in image.packages}
    for package in document["packages"][1:]:
        assert package["versionInfo"] == versions[package["name"]]


def test_a_lock_is_recorded_and_then_needs_no_package_source(recorded: tuple[Path, dict[str, Locked]]) -> None:
    lock, locked = recorded
    offline = build_image("usb-server", lock=lock, sources=[])
    assert offline.packages == locked["usb-server"].resolution.packages
    assert offline.initramfs.is_file()


def test_a_locked_version_that_the_sources_dropped_is_named_with_what_they_have(
    recorded: tuple[Path, dict[str, Locked]], tmp_path: Path
) -> None:
    lock = tmp_path / "packages.lock"
    lines = [
        " ".join([*line.split()[:2], "0.1", "arm64", "0" * 64, *line.split()[5:]])
        if " busybox-static " in line
        else line
        for line in recorded[0].read_text().splitlines()
        if not line.startswith("image")
    ]
    lines.insert(1, f"image usb-server {' '.join(load_definition('usb-server').image.packages)}")
    lock.write_text("\n".join(dict.fromkeys(lines)) + "\n")
    with pytest.raises(HostError, match=r"no longer have busybox-static 0\.1 \(they have 1:") as caught:
        build_image("usb-server", lock=lock)
    assert "record the lock anew" in str(caught.value.hint)
    # A lock goes before it.
    assert "--refresh" not in str(caught.value.hint)


def test_asking_for_newer_packages_against_a_lock_is_refused_and_not_ignored(tmp_path: Path) -> None:
    lock = tmp_path / "packages.lock"
    lock.touch()
    with pytest.raises(DescriptionError, match="the lock fixes the packages") as caught:
        build_image("usb-server", lock=lock, sources=[], cache=tmp_path, refresh=True)
    assert "record it anew" in str(caught.value.hint)
    assert caught.value.where == str(lock)


def test_debians_own_python_runs_on_this_computer_and_compiles_for_the_guests(guest_image: Build) -> None:
    version = guest_image("usb-server").python_version
    assert version is not None
    command = Packages(files.cache_folder(), machine_sources(), lambda line: None).host_python(version)
    compiled = compiler_for(interpreter_for("3.98", lambda _: command))([("m", "m.py", "x = 'ok'", OPTIMISED)])
    run = [
        *command,
        "-I",
        "-S",
        "-c",
        "import sys, marshal; exec(marshal.loads(sys.stdin.buffer.read()[16:])); print(x)",
    ]
    done = subprocess.run(run, input=compiled["m"], capture_output=True, check=True)
    assert done.stdout == b"ok\n"
