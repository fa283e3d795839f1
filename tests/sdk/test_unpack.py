# SPDX-License-Identifier: BSD-2-Clause
"""Whatever an archive holds, unpacking it writes below its folder only, within bounds, and plain files only."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import HostError
from router.sdk.unpack import MAX_READ, Bounds, unpack
from tests.sdk.release_server import Craft, archive, entry, sdk_files

TOP = "microkit-sdk-2.3.0"
SMALL = Bounds(entries=50, size=4 << 20)


def unpacked(folder: Path, data: bytes, bounds: Bounds = SMALL) -> Path:
    """The top folder. What is next to the target folder must stay as it is, whatever happens."""
    target = folder / "target"
    target.mkdir()
    try:
        digest = unpack(io.BytesIO(data), target, TOP, bounds)
        assert digest == hashlib.sha256(data).digest()
    finally:
        assert sorted(path.name for path in folder.iterdir()) == ["target"]
        assert {path.name for path in target.iterdir()} <= {TOP}
    return target / TOP


def refusal(folder: Path, data: bytes, bounds: Bounds = SMALL) -> str:
    with pytest.raises(HostError) as caught:
        unpacked(folder, data, bounds)
    assert "\n" not in caught.value.message and caught.value.message.isprintable()
    return caught.value.message


def test_an_sdk_is_unpacked_with_normal_modes(tmp_path: Path) -> None:
    top = unpacked(tmp_path, archive())
    for name, (data, mode) in sdk_files("2.3.0").items():
        assert (top / name).read_bytes() == data
        assert stat.S_IMODE((top / name).stat().st_mode) == (0o755 if mode & 0o100 else 0o644)
    folders = [path for path in top.rglob("*") if path.is_dir()]
    assert len(folders) >= 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in [top, *folders]} == {0o755}


def test_set_id_and_sticky_bits_owners_and_times_are_not_taken_over(tmp_path: Path) -> None:
    def craft(tar: tarfile.TarFile) -> None:
        entry(tar, f"{TOP}/su", b"x", mode=0o6755, uid=12345, gid=12345, mtime=1)
        entry(tar, f"{TOP}/open", type=tarfile.DIRTYPE, mode=0o7777)

    top = unpacked(tmp_path, archive(craft=craft))
    assert stat.S_IMODE((top / "su").stat().st_mode) == 0o755
    assert stat.S_IMODE((top / "open").stat().st_mode) == 0o755
    assert (top / "su").stat().st_uid == os.getuid()
    assert (top / "su").stat().st_mtime > 1


def test_links_within_the_sdk_are_kept(tmp_path: Path) -> None:
    def craft(tar: tarfile.TarFile) -> None:
        entry(tar, f"{TOP}/bin/other", type=tarfile.SYMTYPE, linkname="microkit")
        entry(tar, f"{TOP}/bin/version", type=tarfile.SYMTYPE, linkname="../VERSION")
        entry(tar, f"{TOP}/kernels", type=tarfile.SYMTYPE, linkname="./board/")

    top = unpacked(tmp_path, archive(craft=craft))
    assert (top / "bin/version").read_text() == "2.3.0\n"
    assert (top / "bin/other").readlink() == Path("microkit")
    assert (top / "kernels/qemu_virt_aarch64").is_dir()


def link(name: str, target: str) -> Craft:
    return lambda tar: entry(tar, name, type=tarfile.SYMTYPE, linkname=target)


def through_link(target: str) -> Craft:
    def craft(tar: tarfile.TarFile) -> None:
        entry(tar, f"{TOP}/way", type=tarfile.SYMTYPE, linkname=target)
        entry(tar, f"{TOP}/way/file", b"x")

    return craft


def replaced_by_link(tar: tarfile.TarFile) -> None:
    entry(tar, f"{TOP}/bin", type=tarfile.SYMTYPE, linkname="/tmp")
    entry(tar, f"{TOP}/bin/file", b"x")


def link_over_link(tar: tarfile.TarFile) -> None:
    entry(tar, f"{TOP}/deep/one", type=tarfile.SYMTYPE, linkname="../bin")
    entry(tar, f"{TOP}/two", type=tarfile.SYMTYPE, linkname="deep/one/../../..")


def many(tar: tarfile.TarFile) -> None:
    for number in range(60):
        entry(tar, f"{TOP}/{number}")


def same_folder_often(tar: tarfile.TarFile) -> None:
    for _ in range(60):
        entry(tar, f"{TOP}/bin", type=tarfile.DIRTYPE)


def implied_folders(tar: tarfile.TarFile) -> None:
    for number in range(5):
        entry(tar, f"{TOP}/{'/'.join(str(number) * 12)}/file")


def twice(tar: tarfile.TarFile) -> None:
    entry(tar, f"{TOP}/VERSION", b"9.9.9\n")


def below_a_file(tar: tarfile.TarFile) -> None:
    entry(tar, f"{TOP}/VERSION/file", b"x")


def sparse(tar: tarfile.TarFile) -> None:
    entry(tar, f"{TOP}/sparse", b"", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "9999999999999"})


HOSTILE: dict[str, tuple[Craft, str]] = {
    "absolute path": (lambda tar: entry(tar, "/tmp/router-escape", b"x"), "leads out"),
    "parent": (lambda tar: entry(tar, f"{TOP}/../escape", b"x"), "leads out"),
    "parent of all": (lambda tar: entry(tar, "../escape", b"x"), "leads out"),
    "parent that comes back": (lambda tar: entry(tar, f"{TOP}/bin/../x", b"x"), "leads out"),
    "another top folder": (lambda tar: entry(tar, "other/file", b"x"), "outside of microkit-sdk-2.3.0/"),
    "no top folder": (lambda tar: entry(tar, "file", b"x"), "outside of microkit-sdk-2.3.0/"),
    "a top folder that is a file": (lambda tar: entry(tar, TOP, b"x"), "is there twice"),
    "link to an absolute path": (link(f"{TOP}/link", "/etc/passwd"), "is a link to something else"),
    "link out": (link(f"{TOP}/bin/link", "../../escape"), "is a link to something else"),
    "link to the folder above": (link(f"{TOP}/link", ".."), "is a link to something else"),
    "link to nothing": (link(f"{TOP}/link", "nothing"), "is a link to something else"),
    "empty link": (link(f"{TOP}/link", ""), "is a link to something else"),
    "link over a link": (link_over_link, "is a link to something else"),
    "link to itself": (link(f"{TOP}/link", "link"), "is a link to something else"),
    "file through a link out": (through_link("/tmp"), "below something that is not a folder"),
    "file through a link within": (through_link("bin"), "below something that is not a folder"),
    "folder replaced by a link": (replaced_by_link, "is there twice"),
    "hard link out": (
        lambda tar: entry(tar, f"{TOP}/hard", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        "is a hard link",
    ),
    "hard link within": (
        lambda tar: entry(tar, f"{TOP}/hard", type=tarfile.LNKTYPE, linkname=f"{TOP}/VERSION"),
        "is a hard link",
    ),
    "character device": (
        lambda tar: entry(tar, f"{TOP}/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        "not a file, link or folder",
    ),
    "block device": (
        lambda tar: entry(tar, f"{TOP}/disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0),
        "not a file, link or folder",
    ),
    "named pipe": (lambda tar: entry(tar, f"{TOP}/pipe", type=tarfile.FIFOTYPE), "not a file, link or folder"),
    "sparse file": (sparse, "not a file, link or folder"),
    "too many entries": (many, "more than 50 entries"),
    "one folder too often": (same_folder_often, "more than 50 entries"),
    "too many implied folders": (implied_folders, "more than 50 entries"),
    "the same file twice": (twice, "is there twice"),
    "a file below a file": (below_a_file, "below something that is not a folder"),
    "escape sequence in a name": (lambda tar: entry(tar, f"{TOP}/\x1b[2J", b"x"), "control characters"),
    "name that is not UTF-8": (lambda tar: entry(tar, f"{TOP}/\udcff", b"x"), "control characters"),
    "too deep": (lambda tar: entry(tar, "/".join([TOP, *"x" * 100]), b"x"), "too many folders deep"),
    "name that no file system takes": (lambda tar: entry(tar, f"{TOP}/{'x' * 300}", b"x"), ""),
    "bomb": (lambda tar: entry(tar, f"{TOP}/bomb", bytes(5 << 20)), "larger than"),
    "header bomb": (
        lambda tar: entry(tar, f"{TOP}/x", pax_headers={"comment": "x" * (2 * MAX_READ)}),
        "a header is too long",
    ),
}


@pytest.mark.parametrize("what", [name for name in HOSTILE if name != "name that no file system takes"])
def test_a_hostile_archive_is_refused(tmp_path: Path, what: str) -> None:
    craft, said = HOSTILE[what]
    assert said in refusal(tmp_path, archive(craft=craft))
    assert not Path("/tmp/router-escape").exists()


def test_a_name_that_no_file_system_takes_is_an_operating_system_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        unpacked(tmp_path, archive(craft=HOSTILE["name that no file system takes"][0]))


def raw_header(size: int, kind: bytes) -> bytes:
    info = tarfile.TarInfo(f"{TOP}/x")
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
def test_a_header_that_claims_gigabytes_takes_no_memory(tmp_path: Path, kind: bytes) -> None:
    data = gzip.compress(raw_header(2 << 30, kind) + bytes(3 << 20), 1)
    tracemalloc.start()
    refusal(tmp_path, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_headers_that_nest_for_ever_are_refused(tmp_path: Path) -> None:
    text = b"12 comment=x\n"[:12].ljust(512, b"\0")
    one = raw_header(12, tarfile.XHDTYPE) + text
    assert "damaged" in refusal(tmp_path, gzip.compress(one * 2000, 1, mtime=0))


def test_many_global_headers_are_refused(tmp_path: Path) -> None:
    def header(number: int) -> bytes:
        record = f" k{number:06}=v\n"
        record = f"{len(record) + 2}{record}"
        return raw_header(len(record), tarfile.XGLTYPE) + record.encode().ljust(512, b"\0")

    blocks = b"".join(header(number) for number in range(200))
    folder = tarfile.TarInfo(TOP)
    folder.type = tarfile.DIRTYPE
    data = blocks + folder.tobuf() + bytes(1024)
    assert "global headers" in refusal(tmp_path, gzip.compress(data, 1, mtime=0))


@pytest.mark.parametrize(
    "data", [b"", b"not gzip at all", gzip.compress(b"not a tar" * 200, mtime=0), gzip.compress(b"", mtime=0)]
)
def test_what_is_not_an_archive_is_said_to_be_damaged(tmp_path: Path, data: bytes) -> None:
    assert "the archive is damaged" in refusal(tmp_path, data)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_archive_is_said_to_be_damaged(tmp_path: Path, part: float) -> None:
    data = archive(padding=os.urandom(200_000))
    assert "the archive is damaged" in refusal(tmp_path, data[: int(len(data) * part)])


def test_what_follows_the_archive_counts_for_its_digest(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    data = archive() + bytes(100_000)
    digest = unpack(io.BytesIO(data), tmp_path / "target", TOP, SMALL)
    assert digest == hashlib.sha256(data).digest()


PLAIN = gzip.decompress(archive(craft=link(f"{TOP}/bin/version", "../VERSION")))


@given(
    st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
    st.integers(0, len(PLAIN)),
)
def test_a_mutated_archive_is_unpacked_or_refused_and_never_escapes(changes: list[tuple[int, bytes]], end: int) -> None:
    data = bytearray(PLAIN)
    for place, new in changes:
        # Into a header, with a checksum that fits, so that tarfile believes it.
        block = place - place % 512
        data[place : place + len(new)] = new
        data[block + 148 : block + 156] = b"%06o\0 " % (
            sum(data[block : block + 148]) + sum(data[block + 156 : block + 512]) + 256
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            top = unpacked(folder, gzip.compress(bytes(data[: len(data) if end % 2 else end]), 1))
        except (HostError, OSError):
            return
        for path in top.rglob("*"):
            assert path.resolve().is_relative_to(folder.resolve())
            assert path.is_symlink() or stat.S_IMODE(path.stat().st_mode) in (0o644, 0o755)
