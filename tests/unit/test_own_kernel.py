# SPDX-License-Identifier: BSD-2-Clause
"""A user's kernel is taken in every wrapping that is common, or refused with the command that unwraps it."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router import own_kernel as kernels
from router.linux_boot import HEADER_SIZE, NotAKernelImage
from router.own_kernel import own_kernel, plain_kernel

KERNEL = (struct.pack("<IIQQQ", 0, 0, 0x80000, 1 << 16, 0).ljust(56, b"\0") + b"ARM\x64" + bytes(4)).ljust(9000, b"k")


def zstd(data: bytes) -> bytes:
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    return subprocess.run(["zstd", "-cq"], input=data, capture_output=True, check=True).stdout


def lzma_alone(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


def zboot(payload: bytes, kind: str) -> bytes:
    head = b"MZ\0\0zimg" + struct.pack("<II", 512, len(payload)) + bytes(8) + kind.encode()
    return head.ljust(56, b"\0") + struct.pack("<I", 0x818223CD) + bytes(512 - 60) + payload + bytes(100)


def uimage(payload: bytes, kind: int) -> bytes:
    head = struct.pack(">4sIIIIII4B", b"\x27\x05\x19\x56", 0, 0, len(payload), 0, 0, 0, 5, 22, 2, kind)
    return head.ljust(64, b"n") + payload


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lzma_alone,
    "bzip2": bz2.compress,
    "zstd": zstd,
}


@pytest.mark.parametrize("name", PACKERS)
def test_a_packed_kernel_is_unpacked(tmp_path: Path, name: str) -> None:
    path = tmp_path / "Image.packed"
    path.write_bytes(PACKERS[name](KERNEL))
    assert plain_kernel(path) == KERNEL
    header, size = own_kernel(path)
    assert (header.memory, size) == ((1 << 16) + 0x80000, len(KERNEL))


@pytest.mark.parametrize(("word", "name"), [("gzip", "gzip"), ("xzkern", "xz"), ("zstd22", "zstd"), ("lzma", "lzma")])
def test_an_efi_zboot_image_is_unpacked_with_or_without_the_size_behind_its_data(
    tmp_path: Path, word: str, name: str
) -> None:
    path = tmp_path / "vmlinuz.efi"
    for more in (b"", struct.pack("<I", len(KERNEL))):
        path.write_bytes(zboot(PACKERS[name](KERNEL) + more, word))
        assert plain_kernel(path) == KERNEL


@pytest.mark.parametrize(("kind", "name"), [(0, None), (1, "gzip"), (2, "bzip2"), (3, "lzma"), (6, "zstd")])
def test_a_uimage_is_unpacked(tmp_path: Path, kind: int, name: str | None) -> None:
    path = tmp_path / "uImage"
    path.write_bytes(uimage(PACKERS[name](KERNEL) if name else KERNEL, kind))
    assert plain_kernel(path) == KERNEL
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert plain_kernel(path) == KERNEL


def test_u_boots_own_tool_makes_what_is_unpacked_here(tmp_path: Path) -> None:
    if shutil.which("mkimage") is None:
        pytest.skip("mkimage is not installed")
    (tmp_path / "Image.gz").write_bytes(gzip.compress(KERNEL))
    made = tmp_path / "uImage"
    words = ["mkimage", "-A", "arm64", "-O", "linux", "-T", "kernel", "-C", "gzip", "-a", "0x40080000"]
    subprocess.run([*words, "-d", tmp_path / "Image.gz", made], check=True, capture_output=True)
    assert plain_kernel(made) == KERNEL


def test_the_command_for_a_packing_that_is_not_known_here_unpacks_the_kernel(tmp_path: Path) -> None:
    if shutil.which("lz4") is None:
        pytest.skip("lz4 is not installed")
    packed = subprocess.run(["lz4", "-lc"], input=KERNEL, capture_output=True, check=True).stdout
    name = "my kernel; $(touch gone)"
    for number, data in enumerate((packed, zboot(packed, "lz4"), uimage(packed, 5))):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(data)
        with pytest.raises(NotAKernelImage, match="a kernel packed by lz4") as caught:
            plain_kernel(folder / name)
        command = caught.value.hint.removeprefix("unpack it first: ")
        subprocess.run(["sh", "-ec", command], cwd=folder, check=True, capture_output=True)
        assert (folder / "Image").read_bytes() == KERNEL
        assert not (folder / "gone").exists()


def test_what_an_image_calls_its_packing_is_no_command(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(zboot(b"..", "$(touch gone)"))
    with pytest.raises(NotAKernelImage) as caught:
        plain_kernel(tmp_path / "mine")
    command = caught.value.hint.removeprefix("unpack it first: ").partition("; then")[0]
    subprocess.run(["sh", "-ec", command], cwd=tmp_path, check=True, capture_output=True)
    assert not (tmp_path / "gone").exists()


def test_a_plain_image_is_left_alone_and_another_file_is_refused_by_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "Image"
    path.write_bytes(KERNEL)
    assert plain_kernel(path) is None
    path.write_bytes(gzip.compress(b"no kernel" * 20))
    with pytest.raises(NotAKernelImage, match="not an arm64 kernel Image"):
        own_kernel(path)


def test_a_file_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "MAX_KERNEL", 4096)
    for name, pack in PACKERS.items():
        path = tmp_path / name
        path.write_bytes(pack(KERNEL))
        with pytest.raises(NotAKernelImage, match="unpacks to more than"):
            plain_kernel(path)
    path.write_bytes(gzip.compress(bytes(5000), 0))
    with pytest.raises(NotAKernelImage, match="the file has more than"):
        plain_kernel(path)
    path = tmp_path / "again"
    data = KERNEL[:HEADER_SIZE]
    for _ in range(5):
        data = uimage(data, 0)
    path.write_bytes(data)
    with pytest.raises(NotAKernelImage, match="again and again"):
        plain_kernel(path)


PACKED = gzip.compress(KERNEL, mtime=0)


@pytest.mark.parametrize("whole", [PACKED, zboot(PACKED, "gzip"), uimage(KERNEL, 0)], ids=["gzip", "zboot", "uImage"])
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_an_error_and_never_a_crash(tmp_path: Path, whole: bytes, data: st.DataObject) -> None:
    damaged = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, min(len(damaged), 80) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(bytes(damaged))
    try:
        plain_kernel(path)
    except NotAKernelImage as error:
        assert error.hint
