# SPDX-License-Identifier: BSD-2-Clause
"""What a description adds to a shipped image, without any change of the program."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from router import files
from router.description.guest_image import OwnParts, load_definition
from router.description.own_files import wrong_folder, wrong_program
from router.errors import DescriptionError
from router.guests.cpio import regular, symlink
from router.guests.debs import PackageFile
from router.guests.own import RUN, own_files, whole_packages
from router.guests.resolution import Packages
from router.guests.sources import machine_sources
from router.guests.userland import shadowed_programs


def test_the_content_of_a_folder_lies_over_the_root_links_and_modes_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "overlay"
    (folder / "etc/empty").mkdir(parents=True)
    (folder / "sbin").mkdir()
    (folder / "etc/greeting").write_text("hello")
    (folder / "sbin/tool").write_text("#!/bin/sh\n")
    (folder / "sbin/tool").chmod(0o700)
    (folder / "etc/passwd.link").symlink_to("/etc/shadow")
    start = tmp_path / "start.sh"
    start.write_text("exit 0\n")
    found = own_files(OwnParts(files=folder, run=start, place="here"))
    assert found["etc/greeting"] == regular(b"hello")
    assert found["bin/tool"].mode == stat.S_IFREG | 0o755
    assert found["etc/passwd.link"] == symlink("/etc/shadow")
    assert stat.S_ISDIR(found["etc/empty"].mode)
    assert "sbin" not in found  # the image's /sbin is a link to /bin
    assert found[RUN] == regular(b"exit 0\n", 0o755)


def test_a_named_package_is_taken_whole_and_of_the_others_their_data() -> None:
    owners = {
        "usr/bin/aplay": "alsa-utils",
        "usr/share/doc/alsa-utils/copyright": "alsa-utils",
        "lib/systemd/system/alsa.service": "alsa-utils",
        "usr/share/alsa/alsa.conf": "libasound2-data",
        "usr/bin/python3.11": "python3.11-minimal",
    }
    members = {path: PackageFile(path, 0o644, b"") for path in owners}
    assert whole_packages(("alsa-utils",), members, owners) == ["usr/bin/aplay", "usr/share/alsa/alsa.conf"]


def test_a_program_of_the_image_goes_before_the_applet_of_its_name() -> None:
    busybox = b"\x7fELF....[\0[[\0mount\0umount\0zcat\0"
    image = {
        "bin/busybox": regular(busybox, 0o755),
        "bin/mount": regular(b"", 0o755),
        "usr/bin/lsusb": regular(b"", 0o755),
        "bin/umount": symlink("busybox"),
    }
    assert shadowed_programs(image) == 'mount() { /bin/mount "$@"; }\n'


def test_an_extended_image_keeps_its_role_and_has_the_new_modules_for_modprobe() -> None:
    base = load_definition("usb-client")
    own = OwnParts(packages=("alsa-utils",), place="here.yaml:3:5")
    extended = base.extended("own-client", own, ("fs-btrfs",))
    assert extended.image.role == "client"
    assert extended.image.modules.boot == base.image.modules.boot
    assert "fs-btrfs" in extended.modules()
    assert extended.image.packages == (*base.image.packages, "alsa-utils")
    assert extended.place == "here.yaml:3:5"


def test_the_modules_of_an_extended_image_are_loaded_before_its_kernel_is_locked() -> None:
    own = OwnParts(place="here.yaml:3:5")
    for base in map(load_definition, ("usb-server", "usb-server-tools", "usb-client")):
        lists = base.extended("own-x", own, ("fs-btrfs",)).image.modules
        assert ("fs-btrfs" in lists.late) == bool(base.image.lock_kernel)
        assert ("fs-btrfs" in lists.available) != bool(base.image.lock_kernel)
        assert lists.boot == base.image.modules.boot


@pytest.mark.parametrize("name", ["../elsewhere", "/etc"])
def test_a_folder_outside_that_of_the_description_is_refused(tmp_path: Path, name: str) -> None:
    base = tmp_path / "system"
    base.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (base / "inside").symlink_to(tmp_path / "elsewhere")
    for wanted in (name, "inside"):
        found = wrong_folder(base, Path(wanted))
        assert found is not None
        assert "is outside the description's folder" in found[0]


def test_what_a_guest_would_never_see_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    import os

    (tmp_path / "over/run").mkdir(parents=True)
    assert wrong_folder(tmp_path, Path("over")) is None
    (tmp_path / "over/run/mine").touch()
    assert wrong_folder(tmp_path, Path("over")) == (
        "'over/run/mine' would never be seen",
        "the guest mounts its own /run over it",
    )
    (tmp_path / "over/run/mine").unlink()
    os.mkfifo(tmp_path / "over/pipe")
    found = wrong_folder(tmp_path, Path("over"))
    assert found is not None
    assert "'over/pipe' is not a file" in found[0]


def test_a_program_with_dos_line_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "start.sh").write_bytes(b"#!/bin/sh\r\ntrue\r\n")
    found = wrong_program(tmp_path, Path("start.sh"))
    assert found is not None
    assert found[0] == "'start.sh' has DOS line ends"


@pytest.mark.packages
def test_an_unknown_package_is_an_error_at_the_image_with_the_nearest_name() -> None:
    own = OwnParts(packages=("alsa-utlis",), place="my.yaml:7:12")
    definition = load_definition("usb-client").extended("own-client", own, ())
    packages = Packages(files.cache_folder(), machine_sources(), lambda line: None)
    with pytest.raises(DescriptionError) as caught:
        packages.resolve(definition)
    assert caught.value.message == "the package sources have no package 'alsa-utlis'"
    assert caught.value.hint == "did you mean 'alsa-utils'?"
    assert caught.value.where == "my.yaml:7:12"
