# SPDX-License-Identifier: BSD-2-Clause
"""Root file systems made of packages, by any user: unpacked, with dpkg's database, and every owner right."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from router.errors import HostError
from router.guests.rootfs import ext4
from router.guests.rootfs.build import CONFIGURE, PENDING, unpack
from router.guests.rootfs.database import NEW
from router.guests.rootfs.tree import Tree

CONTROL = """\
Package: {name}
Version: 1.0
Architecture: arm64
Maintainer: nobody <nobody@localhost>
Description: {name}
 for a test
"""
Entry = tuple[str, int, bytes | str, tuple[int, int]]
"""Path, mode with the file's type, content or a link's target, owner."""

needs_tools = pytest.mark.skipif(
    any(shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None for tool in ("dpkg-deb", "debugfs")),
    reason="dpkg-deb or debugfs is not installed",
)


def archive(entries: Sequence[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, mode, content, (uid, gid) in entries:
            item = tarfile.TarInfo(f"./{path}")
            item.mode, item.uid, item.gid = stat.S_IMODE(mode), uid, gid
            if stat.S_ISDIR(mode):
                item.type = tarfile.DIRTYPE
            elif stat.S_ISLNK(mode):
                item.type, item.linkname = tarfile.SYMTYPE, str(content)
            elif stat.S_ISCHR(mode):
                item.type = tarfile.CHRTYPE
            data = content if isinstance(content, bytes) else b""
            item.size = len(data)
            tar.addfile(item, io.BytesIO(data))
    return buffer.getvalue()


def package(folder: Path, name: str, entries: Sequence[Entry], more: str = "", **control: str) -> Path:
    """A .deb file (deb(5): an ar archive). control: the texts of further control files."""
    texts = {"control": CONTROL.format(name=name) + more, **control}
    files = [(path, stat.S_IFREG | 0o755, text.encode(), (0, 0)) for path, text in texts.items()]
    parts = (("debian-binary", b"2.0\n"), ("control.tar.gz", archive(files)), ("data.tar.gz", archive(entries)))
    data = b"!<arch>\n"
    for part, content in parts:
        data += (
            f"{part:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode()
            + content
            + b"\n" * (len(content) % 2)
        )
    deb = folder / f"{name}.deb"
    deb.write_bytes(data)
    return deb


def file(path: str, data: bytes = b"x", mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> Entry:
    return path, stat.S_IFREG | mode, data, owner


def base(folder: Path) -> Path:
    """What every root has."""
    lists = [file(f"usr/share/base-passwd/{name}.master", b"root:*:0:0\n") for name in ("passwd", "group")]
    return package(folder, "base-passwd", lists, preinst="#!/bin/sh\n")


def unpacked(folder: Path, *debs: Path) -> Tree:
    tree = Tree(folder / "root")
    tree.root.mkdir()
    unpack(tree, [base(folder), *debs], "TEST")
    return tree


@needs_tools
def test_folders_of_the_merged_layout_lead_into_usr(tmp_path: Path) -> None:
    tree = unpacked(tmp_path, package(tmp_path, "tool", [file("bin/tool"), file("lib/aarch64-linux-gnu/libx.so.1")]))
    assert (tree.root / "usr/bin/tool").read_bytes() == b"x"
    assert (tree.root / "usr/lib/aarch64-linux-gnu/libx.so.1").is_file()
    assert (tree.root / "bin").readlink() == Path("usr/bin")


@needs_tools
def test_a_link_of_a_package_leads_nothing_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    first = package(
        tmp_path, "first", [("var/run", stat.S_IFLNK, str(outside), (0, 0)), ("up", stat.S_IFLNK, "../..", (0, 0))]
    )
    second = package(tmp_path, "second", [file("var/run/file"), file("up/other")])
    tree = unpacked(tmp_path, first, second)
    assert not any(outside.iterdir())
    assert not (tmp_path / "other").exists()
    assert (tree.root / "other").is_file()
    assert (tree.root / str(outside).lstrip("/") / "file").is_file()


@needs_tools
def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    circle: list[Entry] = [("a", stat.S_IFLNK, "b", (0, 0)), ("b", stat.S_IFLNK, "a", (0, 0)), file("a/x")]
    with pytest.raises(HostError, match="in a circle at /a/x"):
        unpacked(tmp_path, package(tmp_path, "circle", circle))


@needs_tools
def test_a_package_with_a_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="a device or pipe, /dev/null"):
        unpacked(tmp_path, package(tmp_path, "node", [("dev/null", stat.S_IFCHR | 0o666, b"", (0, 0))]))


@needs_tools
def test_a_name_that_would_be_a_command_of_its_own_is_refused(tmp_path: Path) -> None:
    evil = "x\ndump /etc/passwd stolen\n"
    for number, entries in enumerate(
        (
            [file(evil, owner=(7, 9))],
            [("link", stat.S_IFLNK, evil, (0, 0)), file("link/inside")],
            [file("a\x7f")],
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(HostError, match="a file's name has a control character"):
            unpacked(folder, package(folder, "evil", entries))


@pytest.mark.parametrize(
    ("path", "message"),
    [("x\ndump /etc/passwd stolen\n", "has a control character"), ("/".join(['"' * 250] * 10), "path is too long")],
)
def test_a_path_that_is_no_single_command_reaches_no_script(tmp_path: Path, path: str, message: str) -> None:
    place = tmp_path / "root" / path
    place.parent.mkdir(parents=True)
    place.touch()
    owners = {path: (7, 9)}
    with pytest.raises(HostError, match=message):
        ext4._owners_script(tmp_path / "root", owners)


@needs_tools
@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
def test_dpkg_finds_the_packages_unpacked_and_not_configured(tmp_path: Path) -> None:
    entries = [file("etc/tool.conf"), file("usr/bin/tool", mode=0o755)]
    tool = package(
        tmp_path,
        "tool",
        entries,
        more="Multi-Arch: same\n",
        conffiles="/etc/tool.conf\n",
        postinst="#!/bin/sh\n",
        triggers="interest-noawait /usr/share/things\ninterest update-tool\n",
    )
    tree = unpacked(tmp_path, tool)
    admin = tree.root / "var/lib/dpkg"
    assert (tree.root / f"etc/tool.conf{NEW}").read_bytes() == b"x"
    assert not (tree.root / "etc/tool.conf").exists()
    assert (admin / "info/tool:arm64.list").read_text() == "/.\n/etc/tool.conf\n/usr/bin/tool\n"
    assert (admin / "info/tool:arm64.postinst").stat().st_mode & 0o111
    assert (admin / "triggers/File").read_text() == "/usr/share/things tool:arm64/noawait\n"
    assert (admin / "triggers/update-tool").read_text() == "tool:arm64\n"
    query = ["dpkg-query", f"--admindir={admin}", "-W", "-f", "${Package} ${db:Status-Abbrev}${Conffiles}\\n"]
    said = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    assert "tool iU  /etc/tool.conf newconffile\n" in said
    assert "base-passwd iU" in said


@needs_tools
def test_the_first_start_finds_what_it_has_to_do(tmp_path: Path) -> None:
    tool = package(tmp_path, "tool", [file("usr/bin/tool")], preinst="#!/bin/sh\n")
    tree = unpacked(tmp_path, package(tmp_path, "plain", [file("usr/bin/plain")]), tool)
    assert (tree.root / PENDING).read_text() == "base-passwd\ntool\n"
    assert (tree.root / CONFIGURE).stat().st_mode & 0o111
    assert "root:" in (tree.root / "etc/passwd").read_text()
    assert (tree.root / "etc/fstab").read_text() == "LABEL=TEST / ext4 defaults 0 1\n"


@needs_tools
def test_owners_and_modes_are_the_packages_whoever_writes_the_file_system(tmp_path: Path) -> None:
    entries: list[Entry] = [
        ("var/mail", stat.S_IFDIR | 0o2775, b"", (0, 8)),
        ("root", stat.S_IFDIR | 0o500, b"", (0, 0)),
        file("root/inside"),
        file("usr/bin/wall", mode=0o2755, owner=(0, 5)),
        file("usr/bin/su", mode=0o4755),
        file('usr/share/a "quoted" name', owner=(7, 9)),
    ]
    tree = unpacked(tmp_path, package(tmp_path, "tool", entries))
    out = tmp_path / "root.img"
    for path in tree.root.rglob("*"):
        if os.geteuid() == 0:  # as it is where another user writes it
            os.chown(path, 1234, 1234, follow_symlinks=False)
    for place, mode in ((f"{tree.root}/usr/bin/su", 0o4755), (f"{tree.root}/usr/bin/wall", 0o2755)):
        Path(place).chmod(mode)  # chown(2) clears them
    ext4.make(tree.root, out, "TEST", 64 << 20, tree.owners)
    checked = subprocess.run(["/sbin/e2fsck", "-fn", out], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout

    def status(path: str) -> tuple[int, int, int]:
        said = subprocess.run(
            ["/sbin/debugfs", "-R", f'stat "{path}"', out], capture_output=True, text=True, check=True
        ).stdout
        words = said.replace(":", " : ").split()
        mode, user, group = (words[words.index(key) + 2] for key in ("Mode", "User", "Group"))
        return int(mode, 8), int(user), int(group)

    assert status("/") == (0o755, 0, 0)
    assert status("/var/mail") == (0o2775, 0, 8)
    assert status("/root") == (0o500, 0, 0)
    assert status("/root/inside") == (0o644, 0, 0)
    assert status("/usr/bin/wall") == (0o2755, 0, 5)
    assert status("/usr/bin/su") == (0o4755, 0, 0)
    assert status('/usr/share/a ""quoted"" name') == (0o644, 7, 9)
    assert status("/etc/passwd") == (0o644, 0, 0)


@needs_tools
def test_a_root_that_does_not_fit_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    tree = unpacked(tmp_path, package(tmp_path, "large", [file("usr/large", os.urandom(4 << 20))]))
    with pytest.raises(HostError) as error:
        ext4.make(tree.root, tmp_path / "root.img", "TEST", 4 << 20, tree.owners)
    assert error.value.hint == "write a larger --size"
