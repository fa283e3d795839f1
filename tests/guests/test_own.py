# SPDX-License-Identifier: BSD-2-Clause
"""What a description adds to a shipped image, without any change of the program."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from router import files
from router.description.guest_image import SHIPPED, OwnParts, load_definition
from router.description.own_files import MAX_BYTES, wrong_folder, wrong_program
from router.errors import DescriptionError
from router.guests.cpio import FileSpec, directory, regular, symlink
from router.guests.debs import PackageFile
from router.guests.own import RUN, laid_over, own_files, whole_packages
from router.guests.resolution import Packages
from router.guests.sources import machine_sources
from router.guests.userland import CHECKED, shadowed_programs


def test_the_content_of_a_folder_lies_over_the_root_links_and_modes_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "overlay"
    (folder / "etc/empty").mkdir(parents=True)
    (folder / "sbin").mkdir()
    (folder / "etc/greeting").write_text("hello")
    (folder / "sbin/tool").write_text("#!/bin/sh\n")
    (folder / "sbin/tool").chmod(0o700)
    (folder / "etc/greeting").chmod(0o600)
    (folder / "etc/empty").chmod(0o2700)
    (folder / "etc/passwd.link").symlink_to("/etc/shadow")
    start = tmp_path / "start.sh"
    start.write_text("exit 0\n")
    found = own_files(OwnParts(files=folder, run=start, place="here"))
    assert found["etc/greeting"] == regular(b"hello", 0o600)
    assert found["bin/tool"].mode == stat.S_IFREG | 0o700
    assert found["etc/passwd.link"] == symlink("/etc/shadow")
    assert found["etc/empty"].mode == stat.S_IFDIR | 0o700
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


def test_a_program_is_called_through_its_check_where_the_image_has_both() -> None:
    busybox = b"\x7fELF....[\0[[\0mount\0umount\0zcat\0"
    check = {f"{CHECKED}/cryptsetup": regular(b"")}
    image = {"bin/busybox": regular(busybox, 0o755), **check}
    assert shadowed_programs(image) == ""
    image["bin/cryptsetup"] = regular(b"", 0o755)
    assert shadowed_programs(image) == f'cryptsetup() {{ sh /{CHECKED}/cryptsetup /bin/cryptsetup "$@"; }}\n'


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


def wrong(base: Path, name: str = "over") -> str:
    """What is wrong with that folder, "" when nothing is."""
    return "; ".join(wrong_folder(base, Path(name)) or ())


def test_the_folder_of_the_description_is_not_laid_over_a_guest(tmp_path: Path) -> None:
    (tmp_path / "over").mkdir()
    for name in (".", "over/.."):
        assert "is the folder of the description itself" in wrong(tmp_path, name)
    assert wrong(tmp_path) == ""


def test_a_name_that_is_not_utf_8_is_refused_and_shown(tmp_path: Path) -> None:
    (tmp_path / "over").mkdir()
    (tmp_path / "over" / os.fsdecode(b"caf\xe9")).touch()
    assert "'over/caf\\udce9' has a name that is not UTF-8" in wrong(tmp_path)


@pytest.mark.parametrize(
    ("kind", "path", "said"),
    [
        ("link", "sbin", "'over/sbin' would replace the guest's link to /bin"),
        ("file", "sbin", "'over/sbin' would replace the guest's link to /bin"),
        ("folder", "var/run", "'over/var/run' would replace the guest's link to /run"),
        ("link", "run", "'over/run' would never be seen"),
        ("file", "TRAILER!!!", "the name that ends an initramfs"),
        ("link", "etc/passwd", "'over/etc/passwd' is not a file"),
        ("file", "etc/passwd", "'over/etc/passwd' lacks the user usbip"),
        ("setuid", "bin/su", "'over/bin/su' is setuid or setgid"),
        ("folder", "sbin/more", ""),
        ("file", "var/lib/mine", ""),
    ],
)
def test_what_would_break_the_guest_or_be_lost_is_refused(tmp_path: Path, kind: str, path: str, said: str) -> None:
    full = tmp_path / "over" / path
    full.parent.mkdir(parents=True)
    if kind == "link":
        full.symlink_to(tmp_path)
    elif kind == "folder":
        full.mkdir()
    else:
        full.touch(0o644)
        full.chmod(0o4755 if kind == "setuid" else 0o644)
    found = wrong(tmp_path)
    assert said in found
    assert bool(said) == bool(found)


@pytest.mark.parametrize("line", ["usbip:x:7:8::/:/bin/false", "usbip:x:0:0::/:/bin/sh", "usbip:x:one:1::/:/bin/sh"])
def test_users_of_ones_own_need_that_of_the_daemons_which_is_not_root(tmp_path: Path, line: str) -> None:
    (tmp_path / "over/etc").mkdir(parents=True)
    (tmp_path / "over/etc/passwd").write_text(f"root:x:0:0:root:/root:/bin/sh\n{line}\n")
    assert bool(wrong(tmp_path)) == (":7:8:" not in line)


def test_the_guests_own_users_have_that_of_the_daemons(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "common/etc", tmp_path / "over/etc")
    assert wrong(tmp_path) == ""


def test_two_files_for_one_place_in_the_guest_are_refused(tmp_path: Path) -> None:
    for folder in ("bin", "sbin"):
        (tmp_path / "over" / folder / "more").mkdir(parents=True)
    assert wrong(tmp_path) == ""
    for folder in ("bin", "sbin"):
        (tmp_path / "over" / folder / "tool").touch()
    assert "'over/sbin/tool' and 'over/bin/tool' are one file in the guest" in wrong(tmp_path)


def test_a_folder_has_a_largest_number_of_entries_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "over").mkdir()
    for number in range(3):
        (tmp_path / "over" / str(number)).write_bytes(bytes(10))
    assert wrong(tmp_path) == ""
    for limit, value in (("MAX_ENTRIES", 2), ("MAX_BYTES", 29)):
        with monkeypatch.context() as patched:
            patched.setattr(f"router.description.own_files.{limit}", value)
            assert "has more than" in wrong(tmp_path)


def test_folders_that_the_image_has_keep_their_modes_and_new_ones_have_their_own() -> None:
    image = [{"tmp": directory(0o1777), "usr/share/file": regular(b""), "etc/mtab": symlink("mounts")}]
    mine = {"tmp": directory(0o700), "usr": directory(0o700), "root/.ssh": directory(0o700), "etc/mtab": regular(b"a")}
    modes = {path: spec.mode & 0o7777 for path, spec in laid_over(mine, image, "here").items()}
    assert modes == {"tmp": 0o1777, "usr": 0o755, "root/.ssh": 0o700, "etc/mtab": 0o644}


@pytest.mark.parametrize("mine", [{"etc/mtab": directory()}, {"usr/share": symlink("/tmp")}, {"tmp": regular(b"")}])
def test_a_folder_and_a_file_do_not_replace_each_other(mine: dict[str, FileSpec]) -> None:
    image = [{"tmp": directory(0o1777), "usr/share/file": regular(b""), "etc/mtab": symlink("mounts")}]
    with pytest.raises(DescriptionError, match="of the image is") as caught:
        laid_over(mine, image, "here")
    assert caught.value.where == "here"


def test_a_program_of_any_size_is_not_taken(tmp_path: Path) -> None:
    with (tmp_path / "start.sh").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    found = wrong_program(tmp_path, Path("start.sh"))
    assert found is not None
    assert "has more than 256 MiB" in found[0]


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
